package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// examples has one message of every kind, with nothing left zero.
func examples() []Message {
	return []Message{
		&Hello{Kind: "cpu-f32"},
		&Job{Run: [16]byte{1, 2}, BeatEvery: 100, Body: []byte("job")},
		&Ready{Speed: 12.5},
		&Assign{
			Run: [16]byte{3}, Term: 1, Generation: 7, Attempt: 2, Step: 40, Phase: "finetune",
			DrawKey: [32]byte{4}, State: [32]byte{5}, Dim: 1000, Rank: 1, Ring: []string{"a", "b", "c"}, IDs: []uint32{1, 5, math.MaxUint32},
		},
		&Abort{Term: 1, Generation: 7},
		&Part{Term: 1, Sequence: 9, Phase: "prototypes-0", Step: 3, State: [32]byte{6}, Digest: [32]byte{7}, Total: 10, Offset: 4, Data: []byte("abcdef")},
		&Ack{Sequence: 9, Bytes: 10, Loaded: true},
		&Heartbeat{Count: 3},
		&Failed{Generation: 7, Reason: "the data set could not be read"},
		&Leave{Reason: "stopped by its operator"},
		&Refuse{Rejoin: true, Reason: "the name is taken"},
		&End{},
	}
}

func mustEncode(t testing.TB, m Message) []byte {
	t.Helper()
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reseal corrects the checksum of an altered message, so that a test reaches
// the checks behind it.
func reseal(b []byte) []byte {
	if len(b) >= checksize {
		n := len(b) - checksize
		binary.LittleEndian.PutUint32(b[n:], crc32.Checksum(b[:n], castagnoli))
	}
	return b
}

func TestEveryKindRoundTrips(t *testing.T) {
	seen := map[kind]bool{}
	for _, m := range examples() {
		got, err := Decode(mustEncode(t, m))
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if diff := cmp.Diff(m, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%T: %s", m, diff)
		}
		seen[m.kind()] = true
	}
	for k := kind(0); k < 255; k++ {
		if (blank(k) != nil) != seen[k] {
			t.Errorf("kind %d is decoded but has no example, or the reverse", k)
		}
	}
}

func TestAssignmentsRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-zA-Z0-9_-]{1,64}`)
	rapid.Check(t, func(t *rapid.T) {
		ring := rapid.MapOfN(name, rapid.Bool(), 1, 9).Draw(t, "ring")
		ids := rapid.MapOfN(rapid.Uint32(), rapid.Bool(), 0, 100).Draw(t, "ids")
		m := &Assign{
			Generation: rapid.Uint64().Draw(t, "generation"), Attempt: rapid.Uint32().Draw(t, "attempt"), Phase: name.Draw(t, "phase"),
			Dim: rapid.Uint64Range(1, MaxDim).Draw(t, "dim"), Rank: uint32(rapid.IntRange(0, len(ring)-1).Draw(t, "rank")),
			Ring: ascending(ring), IDs: ascending(ids),
		}
		b, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestDamageIsRefused cuts each message at every length, lengthens it and flips
// every bit.
func TestDamageIsRefused(t *testing.T) {
	for _, m := range examples() {
		whole := mustEncode(t, m)
		for n := range whole {
			if _, err := Decode(whole[:n]); err == nil {
				t.Fatalf("%T cut to %d of %d bytes was accepted", m, n, len(whole))
			}
			if cut := reseal(bytes.Clone(whole[:n])); n >= checksize {
				if _, err := Decode(cut); err == nil {
					t.Fatalf("%T cut to %d of %d bytes with a right checksum was accepted", m, n, len(whole))
				}
			}
		}
		longer := reseal(append(bytes.Clone(whole), 0))
		if _, err := Decode(longer); err == nil {
			t.Errorf("%T with a byte too many was accepted", m)
		}
		for bit := range 8 * len(whole) {
			flipped := bytes.Clone(whole)
			flipped[bit/8] ^= 1 << (bit % 8)
			if _, err := Decode(flipped); err == nil {
				t.Fatalf("%T with bit %d flipped was accepted", m, bit)
			}
		}
	}
}

func TestValuesBeyondTheirLimitsAreRefused(t *testing.T) {
	assign := func(change func(*Assign)) *Assign {
		a := *examples()[3].(*Assign)
		change(&a)
		return &a
	}
	part := func(change func(*Part)) *Part {
		p := *examples()[5].(*Part)
		change(&p)
		return &p
	}
	for _, c := range []struct {
		name string
		m    Message
		want string
	}{
		{"device kind", &Hello{Kind: "cpu f32"}, "device kind: a name has"},
		{"job", &Job{BeatEvery: 1, Body: make([]byte, MaxJob+1)}, "job: 4194305 bytes, more than 4194304"},
		{"phase", assign(func(a *Assign) { a.Phase = "a.b" }), "phase: a name has"},
		{"no coordinates", assign(func(a *Assign) { a.Dim = 0 }), "coordinates: 0, not 1 to"},
		{"too many coordinates", assign(func(a *Assign) { a.Dim = MaxDim + 1 }), "coordinates: 1073741825, not 1 to"},
		{"rank", assign(func(a *Assign) { a.Rank = 3 }), "ring: rank 3 of 3"},
		{"ring order", assign(func(a *Assign) { a.Ring = []string{"b", "a"} }), "ring: names not ascending"},
		{"twice in the ring", assign(func(a *Assign) { a.Ring = []string{"a", "a"} }), "ring: names not ascending"},
		{"an id twice", assign(func(a *Assign) { a.IDs = []uint32{4, 4} }), "ids: not strictly ascending"},
		{"too many ids", assign(func(a *Assign) { a.IDs = make([]uint32, MaxIDs+1) }), "ids: 1048577 examples for one worker in one step, more than 1048576; add workers"},
		{"part size", part(func(p *Part) { p.Total = 1 << 20; p.Data = make([]byte, PartSize+1) }), "parameters: 131073 bytes, more than 131072"},
		{"part beyond the end", part(func(p *Part) { p.Offset = 5 }), "parameters: 10 bytes, at most"},
	} {
		if _, err := Encode(c.m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// TestDecodeChecksWhatEncodeChecks bypasses Encode's checks by altering bytes.
func TestDecodeChecksWhatEncodeChecks(t *testing.T) {
	alter := func(m Message, at int, v ...byte) []byte {
		b := mustEncode(t, m)
		copy(b[at:], v)
		return reseal(b)
	}
	end := func(m Message, back int) int { return len(mustEncode(t, m)) - checksize - back }
	ex := examples()
	for name, b := range map[string][]byte{
		"reserved byte":      alter(ex[0], 7, 1),
		"unknown kind":       alter(ex[0], 6, 200),
		"name":               alter(ex[0], preamble+4, ' '),
		"beat of 0 ms":       alter(ex[1], preamble+16, 0, 0),
		"speed 0":            alter(ex[2], preamble, 0, 0, 0, 0, 0, 0, 0, 0),
		"speed NaN":          alter(ex[2], preamble, 1, 0, 0, 0, 0, 0, 0xf8, 0x7f),
		"descending ids":     alter(ex[3], end(ex[3], 12), 9),
		"flag 2":             alter(ex[6], preamble+16, 2),
		"text not UTF-8":     alter(ex[8], end(ex[8], 1), 0xff),
		"length of 4 GB":     alter(ex[9], preamble, 0xff, 0xff, 0xff, 0xff),
		"flag of a refusal":  alter(ex[10], preamble, 3),
		"part past its end":  alter(ex[5], end(ex[5], 6+4+8), 9),
		"part over its size": alter(ex[5], end(ex[5], 6+4), 0, 0, 3),
	} {
		if m, err := Decode(b); err == nil {
			t.Errorf("%s: accepted as %T", name, m)
		}
	}
}

func TestAnotherVersionIsNamed(t *testing.T) {
	b := mustEncode(t, &End{})
	b[4] = Version + 1
	if _, err := Decode(reseal(b)); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
	c := make([]byte, HeaderSize)
	Chunk{Phase: Reduce, Type: Int32, Ranks: 1}.Seal(c)
	c[4] = Version + 1
	if _, _, err := OpenChunk(c); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

func TestReasonsAlwaysGetThrough(t *testing.T) {
	for name, reason := range map[string]string{
		"long":    strings.Repeat("x", 3*MaxText),
		"runes":   strings.Repeat("€", MaxText),
		"garbage": "\xff\xfe",
	} {
		m, err := Decode(mustEncode(t, &Failed{Reason: reason}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := m.(*Failed).Reason; got == "" || len(got) > MaxText {
			t.Errorf("%s: a reason of %d bytes", name, len(got))
		}
	}
}

// TestPrivateFieldsArePrintedNowhere uses an id, a key byte and a value that
// would show in any verb.
func TestPrivateFieldsArePrintedNowhere(t *testing.T) {
	a := &Assign{Generation: 1, Phase: "p", DrawKey: [32]byte{231}, IDs: []uint32{987654}}
	for _, verb := range []string{"%v", "%+v", "%s"} {
		if s := fmt.Sprintf(verb, a); strings.Contains(s, "987654") || strings.Contains(s, "231") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
	b := mustEncode(t, &Assign{Generation: 1, Phase: "p", Dim: 1, Ring: []string{"a"}, IDs: []uint32{987654, 987655}})
	binary.LittleEndian.PutUint32(b[len(b)-8:], 987654)
	if _, err := Decode(reseal(b)); err == nil || strings.Contains(err.Error(), "987654") {
		t.Errorf("the error is %v", err)
	}
}

func ascending[K interface{ ~string | ~uint32 }, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		i := 0
		for i < len(keys) && keys[i] < k {
			i++
		}
		keys = append(keys[:i], append([]K{k}, keys[i:]...)...)
	}
	return keys
}

// FuzzDecode: what decodes has one encoding, and that is the input.
func FuzzDecode(f *testing.F) {
	for _, m := range examples() {
		f.Add(mustEncode(f, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, in := range [][]byte{b, reseal(bytes.Clone(b))} {
			m, err := Decode(in)
			if err != nil {
				continue
			}
			out, err := Encode(m)
			if err != nil {
				t.Fatalf("%T decodes and does not encode: %v", m, err)
			}
			if !bytes.Equal(in, out) {
				t.Fatalf("%T has two encodings", m)
			}
		}
	})
}
