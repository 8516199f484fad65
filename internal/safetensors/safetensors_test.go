package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func ramp(n int) []float32 {
	data := make([]float32, n)
	for i := range data {
		data[i] = float32(i)/8 - 1
	}
	return data
}

// golden is what tools/golden_safetensors.py puts into python_f32.safetensors.
func golden() []Tensor {
	return []Tensor{
		{Name: "scalar", Data: []float32{1.5}},
		{Name: "empty", Dims: []int{0, 4}},
		{Name: "mid_block.resnets.0.conv1.weight", Dims: []int{2, 3, 1, 1}, Data: ramp(6)},
		{Name: `quote " & <angle> é`, Dims: []int{1}, Data: ramp(1)},
		{Name: "conv_in.bias", Dims: []int{5}, Data: ramp(5)},
	}
}

func TestEncodeGivesThePythonLibrarysBytes(t *testing.T) {
	want, err := os.ReadFile("testdata/python_f32.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Encode(golden(), map[string]string{"format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("bytes differ:\n got %q\nwant %q", got, want)
	}
}

func TestReadOfAPythonFile(t *testing.T) {
	got, metadata, err := Read("testdata/python_f32.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Tensor{}
	for _, tensor := range got {
		byName[tensor.Name] = tensor
	}
	for _, want := range golden() {
		g := byName[want.Name]
		if fmt.Sprint(g.Dims, g.Data) != fmt.Sprint(want.Dims, want.Data) {
			t.Errorf("%s: got %v %v, want %v %v", want.Name, g.Dims, g.Data, want.Dims, want.Data)
		}
	}
	if len(got) != len(golden()) {
		t.Errorf("%d tensors, want %d", len(got), len(golden()))
	}
	if diff := cmp.Diff(map[string]string{"format": "pt"}, metadata); diff != "" {
		t.Error(diff)
	}
}

func TestReadOfHalfPrecision(t *testing.T) {
	got, metadata, err := Read("testdata/python_mixed.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if metadata != nil {
		t.Errorf("metadata %v, want none", metadata)
	}
	inf := float32(math.Inf(1))
	want := map[string][]float32{
		"half":   {0, float32(math.Copysign(0, -1)), 1, -2.5, 65504, 0x1p-24, 1023 * 0x1p-24, 0x1p-14, inf, -inf},
		"brain":  {0, 1, -3.140625, 0x1p127, 0x1p-130},
		"single": {1, 1e-45, -math.MaxFloat32, 0.1},
	}
	for _, tensor := range got {
		if !sameBits(tensor.Data, want[tensor.Name]) {
			t.Errorf("%s: got %v, want %v", tensor.Name, tensor.Data, want[tensor.Name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d tensors, want %d", len(got), len(want))
	}
}

// TestFloat16 compares every bit pattern with the definition of binary16.
func TestFloat16(t *testing.T) {
	for h := range 1 << 16 {
		exponent, fraction := h>>10&31, float64(h&1023)
		var want float64
		switch {
		case exponent == 31 && fraction == 0:
			want = math.Inf(1)
		case exponent == 31:
			want = math.NaN()
		case exponent == 0:
			want = math.Ldexp(fraction, -24)
		default:
			want = math.Ldexp(1024+fraction, exponent-25)
		}
		if h>>15 == 1 {
			want = -want
		}
		got := float64(float16(uint16(h)))
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != (h>>15 == 1) {
			t.Fatalf("float16(%#04x) = %v, want %v", h, got, want)
		}
	}
}

// TestToFloat16 holds that what is written in half precision is the nearest value:
// the values themselves, those just beside the middle of two, and the middle, which
// goes to the even one.
//
// Tried: rounding up in the middle, and flushing subnormals to zero.
func TestToFloat16(t *testing.T) {
	for h := range uint16(0x7c00) { // all finite ones; the sign is a bit apart
		low, high := float16(h), float16(h+1)
		if h == 0x7bff {
			high = 0x1p16 // what would follow the largest
		}
		middle := low/2 + high/2
		even := h + h&1
		for v, want := range map[float32]uint16{
			low: h, math.Nextafter32(middle, 0): h, middle: even, math.Nextafter32(middle, high): h + 1,
		} {
			if got := toFloat16(v); got != want {
				t.Fatalf("toFloat16(%v) = %#04x, want %#04x", v, got, want)
			}
			if got := toFloat16(-v); got != want|0x8000 && v != 0 {
				t.Fatalf("toFloat16(%v) = %#04x, want %#04x", -v, got, want|0x8000)
			}
		}
	}
	inf := float32(math.Inf(1))
	if toFloat16(inf) != 0x7c00 || toFloat16(math.MaxFloat32) != 0x7c00 || !math.IsNaN(float64(float16(toFloat16(float32(math.NaN()))))) {
		t.Error("infinities or NaN are written as something else")
	}
}

// TestHalfTensorsAreReadBack beside others, in a file of the expected size.
func TestHalfTensorsAreReadBack(t *testing.T) {
	want := []Tensor{{Name: "half", Dims: []int{3}, Data: []float32{1, -0.5, 65504}, Half: true}, {Name: "whole", Dims: []int{1}, Data: []float32{0.1}}}
	content, err := Encode(want, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := Decode(content)
	if err != nil || len(got) != 2 || !sameBits(got[0].Data, want[0].Data) || !sameBits(got[1].Data, want[1].Data) {
		t.Errorf("%v, %v", got, err)
	}
	if header := len(content) - 3*2 - 4; header%8 != 0 {
		t.Errorf("%d bytes", len(content))
	}
}

func TestWriteKeepsEveryBit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weights.safetensors")
	odd := []float32{
		math.Float32frombits(0x7fc01234), math.Float32frombits(0xff801111), // NaNs with payloads
		float32(math.Inf(-1)), math.SmallestNonzeroFloat32, float32(math.Copysign(0, -1)),
	}
	big := ramp(3 * 10007) // more than one buffer
	in := []Tensor{{Name: "b", Dims: []int{3, 10007}, Data: big}, {Name: "a", Dims: []int{5}, Data: odd}}
	metadata := map[string]string{"z": "1", "a": "2\n\"", "m": "é"}
	if err := Write(path, in, metadata); err != nil {
		t.Fatal(err)
	}
	got, gotMetadata, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Name != "a" || !sameBits(got[0].Data, odd) || got[1].Name != "b" || !sameBits(got[1].Data, big) {
		t.Error("the values changed on their way through the file")
	}
	if diff := cmp.Diff(metadata, gotMetadata); diff != "" {
		t.Error(diff)
	}
	reversed, err := Encode([]Tensor{in[1], in[0]}, metadata)
	if err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(path); !bytes.Equal(content, reversed) {
		t.Error("the bytes depend on the order of the arguments")
	}
}

func sameBits(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

func TestDataAreAligned(t *testing.T) {
	for n := range 9 {
		b, err := Encode([]Tensor{{Name: strings.Repeat("n", n+1), Dims: []int{1}, Data: []float32{1}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if h := binary.LittleEndian.Uint64(b); h%8 != 0 {
			t.Errorf("a name of %d bytes gives a header of %d bytes", n+1, h)
		}
	}
}

func TestWriteLeavesTheOldFileOnFailure(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "w.safetensors")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := Write(path, []Tensor{{Name: "a", Dims: []int{2}, Data: ramp(3)}}, nil)
	if want := "cannot write " + path + `: tensor "a" has 3 values, not those of its dimensions [2]`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if content, _ := os.ReadFile(path); string(content) != "old" {
		t.Errorf("the old file now holds %q", content)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

// file builds content with a hand-made header.
func file(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func TestDecodeRefuses(t *testing.T) {
	one := func(fields string) []byte { return file(`{"w":{`+fields+`}}`, 8) }
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"nothing", nil, "it has 0 bytes and no header"},
		{"cut length", []byte("abc"), "it has 3 bytes and no header"},
		{"huge header", append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, 0), "its header claims 72057594037927936 bytes, more than the format's limit of 100000000"},
		{"cut header", file("{}", 0)[:9], "it is truncated: the header claims 2 bytes and 1 follow"},
		{"not JSON", file("hello", 0), "its header is not a JSON object"},
		{"a list", file("[]", 0), "its header is not a JSON object"},
		{"open object", file(`{"w":{}`, 0), `its header entry of tensor "w" lacks dtype, shape or two data_offsets`},
		{"more JSON", file(`{} {}`, 0), "its header goes on after the JSON object"},
		{"twice", file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), `its header names "w" twice`},
		{"metadata", file(`{"__metadata__":{"a":1}}`, 0), "its metadata are not strings: json: cannot unmarshal number into Go value of type string"},
		{"no shape", one(`"dtype":"F32","data_offsets":[0,8]`), `its header entry of tensor "w" lacks dtype, shape or two data_offsets`},
		{"one offset", one(`"dtype":"F32","shape":[2],"data_offsets":[8]`), `its header entry of tensor "w" lacks dtype, shape or two data_offsets`},
		{"type", one(`"dtype":"I64","shape":[1],"data_offsets":[0,8]`), `tensor "w" has type I64; F32, F16 and BF16 are read`},
		{"negative", one(`"dtype":"F32","shape":[-2],"data_offsets":[0,8]`), `tensor "w" has the negative dimension -2`},
		{"overflow", one(`"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]`), `tensor "w" has more elements than a file can hold in dimensions [4294967296 4294967296 2]`},
		{"shape", one(`"dtype":"F32","shape":[3],"data_offsets":[0,8]`), `tensor "w" of dimensions [3] and type F32 does not fit its byte range 0 to 8`},
		{"backwards", one(`"dtype":"F32","shape":[2],"data_offsets":[0,-8]`), `its header entry of tensor "w" is malformed: json: cannot unmarshal number -8 into Go struct field .data_offsets of type uint64`},
		{"gap", one(`"dtype":"F32","shape":[1],"data_offsets":[4,8]`), `4 unused bytes lie before tensor "w"`},
		{"overlap", file(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), `tensor "v" overlaps the one before it`},
		{"truncated", one(`"dtype":"F32","shape":[4],"data_offsets":[0,16]`), `it is truncated: tensor "w" ends at byte 16 of 8`},
		{"trailing", one(`"dtype":"F32","shape":[1],"data_offsets":[0,4]`), "4 bytes follow the last tensor"},
	} {
		_, _, err := Decode(c.content)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

func TestReadNamesThePath(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "cut.safetensors")
	content, err := Encode(golden(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content[:len(content)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err = Read(path)
	if want := path + ` is not a readable safetensors file: it is truncated: tensor "scalar" ends at byte 52 of 51`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, _, err = Read(folder); err == nil || err.Error() != folder+" is not a safetensors file but a folder" {
		t.Errorf("a folder: %v", err)
	}
}

// TestDecodeAllocatesNoMoreThanTheFile gives a tiny file with large claims.
func TestDecodeAllocatesNoMoreThanTheFile(t *testing.T) {
	content := file(`{"w":{"dtype":"F32","shape":[100000000],"data_offsets":[0,400000000]}}`, 8)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err := Decode(content); err == nil {
		t.Fatal("accepted")
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes allocated for a file of %d", grown, len(content))
	}
}

// FuzzDecode: whatever is accepted can be written and read again unchanged.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"python_f32", "python_mixed"} {
		content, err := os.ReadFile("testdata/" + name + ".safetensors")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Add(file(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v":{"dtype":"F16","shape":[],"data_offsets":[8,10]}}`, 10))
	f.Fuzz(func(t *testing.T, content []byte) {
		tensors, metadata, err := Decode(content)
		if err != nil {
			return
		}
		again, err := Encode(tensors, metadata)
		if err != nil {
			t.Fatalf("accepted but not writable: %v", err)
		}
		second, _, err := Decode(again)
		if err != nil {
			t.Fatalf("written but not readable: %v", err)
		}
		values := map[string][]float32{}
		for _, tensor := range second {
			values[tensor.Name] = tensor.Data
		}
		for _, tensor := range tensors {
			if !sameBits(tensor.Data, values[tensor.Name]) {
				t.Fatalf("tensor %q changed", tensor.Name)
			}
		}
	})
}
