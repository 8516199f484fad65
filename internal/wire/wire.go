// Package wire is every message between a coordinator and its workers, and the
// subjects they travel on.
//
// A control message is
//
//	magic "dplw" | version uint16 | kind uint8 | zero uint8 | fields | CRC-32C
//
// with integers little-endian, byte strings preceded by their length as uint32.
// Numbers of a ring travel in chunks with a fixed header (chunk.go). Decoding
// is strict: another version, a truncated, longer or altered message, a length
// beyond its limit or a value out of range is an error, never a panic, and no
// more memory is allocated than the message is long. Errors print lengths and
// kinds, never content: ids and sums are private.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Version is the protocol's; workers and coordinator must have the same.
const Version = 1

// Limits of single messages.
const (
	MaxName       = 64        // bytes of a worker's, phase's or device kind's name
	MaxText       = 1 << 10   // bytes of a reason for people
	MaxJob        = 4 << 20   // bytes of a job description
	MaxRanks      = 1 << 10   // workers in a ring
	MaxIDs        = 1 << 20   // example ids of one worker in one step
	MaxDim        = 1 << 30   // coordinates of a vector
	MaxParameters = 4 << 30   // bytes of a release, over all its parts
	PartSize      = 128 << 10 // bytes of a part of a release
	MaxMessage    = 6 << 20   // bytes of any encoded message; the bus allows a little more
)

// ErrVersion says that the other side speaks another version of the protocol.
var ErrVersion = errors.New("the other side runs another version of dploda; use the same version everywhere")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	magic     = uint32(0x776c7064) // "dplw"
	preamble  = 8
	checksize = 4
)

type kind uint8

// The numbers are the format; they never change meaning within a version.
const (
	kindHello kind = 1 + iota
	kindJob
	kindReady
	kindAssign
	kindAbort
	kindPart
	kindAck
	kindHeartbeat
	kindFailed
	kindLeave
	kindRefuse
	kindEnd
)

// Message is one of the control messages of this package.
type Message interface {
	kind() kind
	encode(*writer)
	decode(*reader)
}

func blank(k kind) Message {
	switch k {
	case kindHello:
		return new(Hello)
	case kindJob:
		return new(Job)
	case kindReady:
		return new(Ready)
	case kindAssign:
		return new(Assign)
	case kindAbort:
		return new(Abort)
	case kindPart:
		return new(Part)
	case kindAck:
		return new(Ack)
	case kindHeartbeat:
		return new(Heartbeat)
	case kindFailed:
		return new(Failed)
	case kindLeave:
		return new(Leave)
	case kindRefuse:
		return new(Refuse)
	case kindEnd:
		return new(End)
	}
	return nil
}

// Encode returns m's one encoding, or an error that names the field which is
// beyond its limit.
func Encode(m Message) ([]byte, error) {
	w := &writer{b: make([]byte, 0, 256)}
	w.uint32(magic)
	w.uint16(Version)
	w.uint8(uint8(m.kind()))
	w.uint8(0)
	m.encode(w)
	w.uint32(crc32.Checksum(w.b, castagnoli))
	if w.err == nil && len(w.b) > MaxMessage {
		w.fail("message", "%d bytes, more than %d", len(w.b), MaxMessage)
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.b, nil
}

// Decode reads one message. Byte strings of the result point into b.
func Decode(b []byte) (Message, error) {
	if len(b) < preamble+checksize || len(b) > MaxMessage {
		return nil, fmt.Errorf("a message of %d bytes is not one of dploda's", len(b))
	}
	if binary.LittleEndian.Uint32(b) != magic {
		return nil, errors.New("a message does not begin as dploda's do")
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != Version {
		return nil, fmt.Errorf("%w (version %d here, %d there)", ErrVersion, Version, v)
	}
	body := b[:len(b)-checksize]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, errors.New("a message was damaged on its way: its checksum is wrong")
	}
	m := blank(kind(b[6]))
	if m == nil || b[7] != 0 {
		return nil, fmt.Errorf("a message of unknown kind %d", b[6])
	}
	r := &reader{b: body[preamble:]}
	m.decode(r)
	if r.err == nil && len(r.b) != 0 {
		r.fail("end", "%d bytes too many", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("a message of kind %d: %w", b[6], r.err)
	}
	return m, nil
}

// ValidName reports whether s can name a worker, a phase or a run: 1 to MaxName
// letters, digits, '-' or '_', so that it is one token of a subject.
func ValidName(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= MaxName
}
