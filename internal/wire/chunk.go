package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ChunkSize is the largest payload of a chunk in bytes: the rate over NATS is
// flat from 32 KiB to 1 MiB, and 256 KiB fits every server's default limit.
const ChunkSize = 256 << 10

// HeaderSize is the length in bytes of a chunk's header.
const HeaderSize = 60

const chunkMagic = uint32(0x636c7064) // "dplc"

// Phase of a ring is the traffic that a chunk belongs to.
type Phase uint8

// The phases of a ring.
const (
	Reduce  Phase = 1 + iota // partial sums on their way round
	Gather                   // finished segments on their way round
	Segment                  // a finished segment on its way to the coordinator
)

// Type is the type of a chunk's numbers.
type Type uint8

// The types of numbers.
const (
	Int32 Type = 1 + iota
	Int64
	Float32
)

// Size is the width of a number in bytes, 0 for an unknown type.
func (t Type) Size() int {
	switch t {
	case Int32, Float32:
		return 4
	case Int64:
		return 8
	}
	return 0
}

// Chunk is the header of consecutive numbers of a vector. Encoded, in order:
//
//	magic u32 | version u16 | phase u8 | type u8 | generation u64 | step u64 |
//	attempt u32 | ranks u16 | hop u16 | segment u32 | chunk u32 | offset u64 |
//	count u32 | length of the vector u32 | CRC-32C u32 over header and payload
type Chunk struct {
	Phase      Phase
	Type       Type
	Generation uint64
	Step       uint64
	Attempt    uint32
	Ranks      uint16
	Hop        uint16 // 0 from the rank that starts the segment
	Segment    uint32
	Index      uint32 // of the chunk within its segment
	Offset     uint64 // of its first number within the vector
	Count      uint32 // numbers
	Length     uint32 // numbers of the whole vector
}

// Seal writes the header over the first HeaderSize bytes of b, whose rest is
// the payload.
func (c Chunk) Seal(b []byte) {
	h := b[:HeaderSize]
	binary.LittleEndian.PutUint32(h, chunkMagic)
	binary.LittleEndian.PutUint16(h[4:], Version)
	h[6], h[7] = byte(c.Phase), byte(c.Type)
	binary.LittleEndian.PutUint64(h[8:], c.Generation)
	binary.LittleEndian.PutUint64(h[16:], c.Step)
	binary.LittleEndian.PutUint32(h[24:], c.Attempt)
	binary.LittleEndian.PutUint16(h[28:], c.Ranks)
	binary.LittleEndian.PutUint16(h[30:], c.Hop)
	binary.LittleEndian.PutUint32(h[32:], c.Segment)
	binary.LittleEndian.PutUint32(h[36:], c.Index)
	binary.LittleEndian.PutUint64(h[40:], c.Offset)
	binary.LittleEndian.PutUint32(h[48:], c.Count)
	binary.LittleEndian.PutUint32(h[52:], c.Length)
	binary.LittleEndian.PutUint32(h[56:], chunkSum(b))
}

// chunkSum covers everything but the checksum itself.
func chunkSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:HeaderSize-4])
	return crc32.Update(sum, castagnoli, b[HeaderSize:])
}

// OpenChunk checks b and returns its header and payload, which points into b.
func OpenChunk(b []byte) (Chunk, []byte, error) {
	if len(b) < HeaderSize || len(b) > HeaderSize+ChunkSize {
		return Chunk{}, nil, fmt.Errorf("a chunk of %d bytes is not one of dploda's", len(b))
	}
	if binary.LittleEndian.Uint32(b) != chunkMagic {
		return Chunk{}, nil, errors.New("a chunk does not begin as dploda's do")
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != Version {
		return Chunk{}, nil, fmt.Errorf("%w (version %d here, %d there)", ErrVersion, Version, v)
	}
	if binary.LittleEndian.Uint32(b[56:]) != chunkSum(b) {
		return Chunk{}, nil, errors.New("a chunk was damaged on its way: its checksum is wrong")
	}
	c := Chunk{
		Phase:      Phase(b[6]),
		Type:       Type(b[7]),
		Generation: binary.LittleEndian.Uint64(b[8:]),
		Step:       binary.LittleEndian.Uint64(b[16:]),
		Attempt:    binary.LittleEndian.Uint32(b[24:]),
		Ranks:      binary.LittleEndian.Uint16(b[28:]),
		Hop:        binary.LittleEndian.Uint16(b[30:]),
		Segment:    binary.LittleEndian.Uint32(b[32:]),
		Index:      binary.LittleEndian.Uint32(b[36:]),
		Offset:     binary.LittleEndian.Uint64(b[40:]),
		Count:      binary.LittleEndian.Uint32(b[48:]),
		Length:     binary.LittleEndian.Uint32(b[52:]),
	}
	if err := c.check(len(b) - HeaderSize); err != nil {
		return Chunk{}, nil, err
	}
	return c, b[HeaderSize:], nil
}

func (c Chunk) check(payload int) error {
	switch size := c.Type.Size(); {
	case c.Phase < Reduce || c.Phase > Segment:
		return fmt.Errorf("a chunk of unknown phase %d", c.Phase)
	case size == 0:
		return fmt.Errorf("a chunk of unknown type %d", c.Type)
	case uint64(c.Count)*uint64(size) != uint64(payload):
		return fmt.Errorf("a chunk announces %d numbers in %d bytes", c.Count, payload)
	case c.Ranks == 0 || c.Ranks > MaxRanks || c.Segment >= uint32(c.Ranks) || c.Hop >= c.Ranks:
		return fmt.Errorf("a chunk of segment %d, hop %d in a ring of %d", c.Segment, c.Hop, c.Ranks)
	case c.Length > MaxDim+1 || c.Offset > uint64(c.Length) || uint64(c.Count) > uint64(c.Length)-c.Offset:
		return errors.New("a chunk lies outside its vector")
	}
	return nil
}
