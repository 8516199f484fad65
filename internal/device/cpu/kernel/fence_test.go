package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// fence is a NaN that no arithmetic produces.
var fence = math.Float32frombits(0x7fc5a5a5)

const fenceLen = 64

// aligned returns n floats at a multiple of 64 bytes, as a device's arena gives.
func aligned(n int) []float32 {
	all := make([]float32, n+16)
	skip := int(uintptr(unsafe.Pointer(&all[0]))/4) & 15
	return all[(16-skip)&15:][:n:n]
}

// fenced returns n floats between fences, and a check that these are intact.
func fenced(n int) ([]float32, func(*testing.T)) {
	all := aligned(n + 2*fenceLen)
	for i := range all {
		all[i] = fence
	}
	check := func(t *testing.T) {
		t.Helper()
		for i, v := range all {
			if (i < fenceLen || i >= fenceLen+n) && math.Float32bits(v) != math.Float32bits(fence) {
				t.Fatalf("wrote %v at %d of a buffer of %d", v, i-fenceLen, n)
			}
		}
	}
	return all[fenceLen : fenceLen+n : fenceLen+n], check
}

// buffer is a tensor with a halo, inside fences.
type buffer struct {
	data  []float32
	e     Extent
	halo  int
	check func(*testing.T)
}

// newBuffer leaves the halo filled with the fence, so that writes there show.
func newBuffer(e Extent, halo int) buffer {
	b := buffer{e: e, halo: halo}
	b.data, b.check = fenced(e.C * b.chanStride())
	return b
}

func (b buffer) rowStride() int { return (b.e.W + 2*b.halo) * Lanes }

// chanStride leaves a gap after planes of a multiple of 8 pixels, as a device does.
func (b buffer) chanStride() int {
	n := (b.e.H + 2*b.halo) * b.rowStride()
	if n%(8*Lanes) == 0 {
		n += Lanes
	}
	return n
}

func (b buffer) base() int { return b.halo*b.rowStride() + b.halo*Lanes }

func (b buffer) view() View {
	return View{Data: b.data[b.base():], Chan: b.chanStride(), Row: b.rowStride()}
}

func (b buffer) at(c, y, x, lane int) *float32 {
	return &b.data[b.base()+c*b.chanStride()+y*b.rowStride()+x*Lanes+lane]
}

// each visits the interior.
func (b buffer) each(f func(c, y, x, lane int, v *float32)) {
	for c := range b.e.C {
		for y := range b.e.H {
			for x := range b.e.W {
				for l := range Lanes {
					f(c, y, x, l, b.at(c, y, x, l))
				}
			}
		}
	}
}

// random fills the interior from a seed.
func (b buffer) random(seed uint64, value func(*rand.Rand) float32) buffer {
	r := rand.New(rand.NewPCG(seed, 1))
	b.each(func(_, _, _, _ int, v *float32) { *v = value(r) })
	return b
}

// zeroHalo sets the halo to zero and keeps the interior.
func (b buffer) zeroHalo() buffer {
	inside := make(map[*float32]bool)
	b.each(func(_, _, _, _ int, v *float32) { inside[v] = true })
	for i := range b.data {
		if !inside[&b.data[i]] {
			b.data[i] = 0
		}
	}
	return b
}

// haloIntact fails if anything but the interior was written.
func (b buffer) haloIntact(t *testing.T) {
	t.Helper()
	b.check(t)
	outside := len(b.data) - b.e.C*b.e.H*b.e.W*Lanes
	for _, v := range b.data {
		if math.Float32bits(v) == math.Float32bits(fence) {
			outside--
		}
	}
	if outside > 0 {
		t.Fatalf("%d halo elements were written", outside)
	}
}

func normal(r *rand.Rand) float32 { return float32(r.NormFloat64()) }

// special mixes ordinary values with the awkward ones.
func special(r *rand.Rand) float32 {
	values := [...]float32{
		0, float32(math.Copysign(0, -1)), float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
		math.SmallestNonzeroFloat32, -5 * math.SmallestNonzeroFloat32, 0x1p-126, -0x1.fffffcp-127,
		math.MaxFloat32, -math.MaxFloat32, 1, -1, 88.5, -88.5, 100, -100, 0x1p64,
	}
	if i := r.IntN(2 * len(values)); i < len(values) {
		return values[i]
	}
	return normal(r)
}

// sameBits compares two results; the payload of a NaN is not part of them.
func sameBits(t *testing.T, what string, want, got []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) && !(want[i] != want[i] && got[i] != got[i]) {
			t.Fatalf("%s: element %d is %v (%08x), want %v (%08x)", what, i,
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// fastLevels returns this machine's implementations other than portable, and
// restores the active one at the end of the test.
func fastLevels(t testing.TB) []string {
	restore := active
	t.Cleanup(func() { active = restore })
	if len(Levels()) == 1 {
		t.Skip("this machine runs the portable kernels only: nothing to compare")
	}
	return Levels()[1:]
}

func use(t testing.TB, level string) {
	t.Helper()
	if err := Use(level); err != nil {
		t.Fatal(err)
	}
}
