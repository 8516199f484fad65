package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// encodingMagic opens every encoded Mechanism; its number is the version.
const encodingMagic = "dploda mechanism 2\n"

const encodingFixed = 1 + 11*8 // the everyone byte and eleven 64-bit words

// MarshalBinary returns the canonical encoding: one Mechanism has one encoding
// and Digest is its hash. Fields follow the magic in the order of the struct,
// integers and IEEE 754 bits big-endian in 64 bits.
func (m Mechanism) MarshalBinary() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m.appendBinary(nil), nil
}

func (m Mechanism) appendBinary(b []byte) []byte {
	b = append(b, encodingMagic...)
	b = append(b, byte(len(m.Phase)))
	b = append(b, m.Phase...)
	everyone := byte(0)
	if m.Everyone {
		everyone = 1
	}
	b = append(b, everyone)
	for _, word := range []uint64{
		m.QThreshold, uint64(m.Dim), uint64(m.Delta), uint64(m.SigmaInt),
		math.Float64bits(m.ClipNorm), uint64(m.Steps), uint64(m.Reserve), math.Float64bits(m.Divisor),
		uint64(m.LossDelta), math.Float64bits(m.LossBound), uint64(m.ClipDelta),
	} {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b
}

// UnmarshalBinary reads what MarshalBinary wrote, and nothing else: a truncated,
// longer, or invalid encoding is an error and leaves m unchanged.
func (m *Mechanism) UnmarshalBinary(b []byte) error {
	rest, ok := bytes.CutPrefix(b, []byte(encodingMagic))
	if !ok {
		return fmt.Errorf("these bytes are not an encoded mechanism of this version")
	}
	if len(rest) < 1 || len(rest) != 1+int(rest[0])+encodingFixed {
		return fmt.Errorf("an encoded mechanism has the wrong length of %d bytes", len(b))
	}
	n := int(rest[0])
	d := Mechanism{Phase: string(rest[1 : 1+n])}
	rest = rest[1+n:]
	if rest[0] > 1 {
		return fmt.Errorf("an encoded mechanism holds a flag of value %d", rest[0])
	}
	d.Everyone = rest[0] == 1
	word := func(i int) uint64 { return binary.BigEndian.Uint64(rest[1+8*i:]) }
	d.QThreshold, d.Dim, d.Delta, d.SigmaInt = word(0), int(word(1)), int64(word(2)), int64(word(3))
	d.ClipNorm, d.Steps, d.Reserve = math.Float64frombits(word(4)), int(word(5)), int(word(6))
	d.Divisor = math.Float64frombits(word(7))
	d.LossDelta, d.LossBound, d.ClipDelta = int64(word(8)), math.Float64frombits(word(9)), int64(word(10))
	if err := d.Validate(); err != nil {
		return err
	}
	*m = d
	return nil
}

// Digest returns the SHA-256 hash of the canonical encoding.
func (m Mechanism) Digest() [32]byte { return sha256.Sum256(m.appendBinary(nil)) }
