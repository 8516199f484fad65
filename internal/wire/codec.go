package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// writer appends fields and remembers the first that was beyond its limit.
type writer struct {
	b   []byte
	err error
}

func (w *writer) fail(field, format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%s: "+format, append([]any{field}, args...)...)
	}
}

func (w *writer) uint8(v uint8)   { w.b = append(w.b, v) }
func (w *writer) uint16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *writer) uint32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) uint64(v uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *writer) fixed(v []byte)  { w.b = append(w.b, v...) }

func (w *writer) bool(v bool) {
	if v {
		w.uint8(1)
	} else {
		w.uint8(0)
	}
}

func (w *writer) bytes(field string, v []byte, limit int) {
	if len(v) > limit {
		w.fail(field, "%d bytes, more than %d", len(v), limit)
		return
	}
	w.uint32(uint32(len(v)))
	w.b = append(w.b, v...)
}

func (w *writer) name(field, v string) {
	if !ValidName(v) {
		w.fail(field, "a name has 1 to %d letters, digits, '-' or '_'", MaxName)
	}
	w.bytes(field, []byte(v), MaxName)
}

// text truncates: a reason for people must always get through.
func (w *writer) text(field, v string) { w.bytes(field, []byte(clip(v)), MaxText) }

// clip cuts s to MaxText bytes of valid UTF-8.
func clip(s string) string {
	if len(s) > MaxText {
		s = s[:MaxText]
		for !utf8.ValidString(s) && len(s) > MaxText-utf8.UTFMax {
			s = s[:len(s)-1]
		}
	}
	if !utf8.ValidString(s) {
		return "a reason that is not text"
	}
	return s
}

func (w *writer) ids(field string, v []uint32) {
	if len(v) > MaxIDs {
		w.fail(field, "%d examples for one worker in one step, more than %d; add workers", len(v), MaxIDs)
		return
	}
	w.uint32(uint32(len(v)))
	for i, id := range v {
		if i > 0 && id <= v[i-1] {
			w.fail(field, "not strictly ascending")
			return
		}
		w.uint32(id)
	}
}

// reader takes fields off b and remembers the first failure; after it, every
// field reads as zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(field, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: "+format, append([]any{field}, args...)...)
	}
	r.b = nil
}

func (r *reader) take(field string, n int) []byte {
	if len(r.b) < n {
		r.fail(field, "truncated")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint8(field string) uint8 {
	if v := r.take(field, 1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint32(field string) uint32 {
	if v := r.take(field, 4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (r *reader) uint64(field string) uint64 {
	if v := r.take(field, 8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (r *reader) bool(field string) bool {
	v := r.uint8(field)
	if v > 1 {
		r.fail(field, "neither 0 nor 1")
	}
	return v == 1
}

func (r *reader) fixed(field string, dst []byte) { copy(dst, r.take(field, len(dst))) }

// limited reads an integer of at most limit.
func (r *reader) limited(field string, limit uint64) uint64 {
	v := r.uint64(field)
	if v > limit {
		r.fail(field, "more than %d", limit)
		return 0
	}
	return v
}

func (r *reader) bytes(field string, limit int) []byte {
	n := r.uint32(field)
	if uint64(n) > uint64(limit) {
		r.fail(field, "%d bytes, more than %d", n, limit)
		return nil
	}
	return r.take(field, int(n))
}

func (r *reader) name(field string) string {
	s := string(r.bytes(field, MaxName))
	if r.err == nil && !ValidName(s) {
		r.fail(field, "not a name")
	}
	return s
}

func (r *reader) text(field string) string {
	s := string(r.bytes(field, MaxText))
	if !utf8.ValidString(s) {
		r.fail(field, "not text")
		return ""
	}
	return s
}

// positive reads a finite float64 above zero.
func (r *reader) positive(field string) float64 {
	v := math.Float64frombits(r.uint64(field))
	if r.err == nil && !(v > 0 && !math.IsInf(v, 1)) {
		r.fail(field, "not a positive number")
	}
	return v
}

func (r *reader) ids(field string) []uint32 {
	n := int(r.uint32(field))
	if n > MaxIDs {
		r.fail(field, "%d, more than %d", n, MaxIDs)
		return nil
	}
	b := r.take(field, 4*n)
	if b == nil {
		return nil
	}
	v := make([]uint32, n)
	for i := range v {
		v[i] = binary.LittleEndian.Uint32(b[4*i:])
		if i > 0 && v[i] <= v[i-1] {
			r.fail(field, "not strictly ascending")
			return nil
		}
	}
	return v
}
