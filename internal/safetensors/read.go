package safetensors

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
)

// Read returns the tensors of the file at path, in the order of their bytes,
// and its metadata (nil where it has none). The error names the path.
func Read(path string) ([]Tensor, map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a safetensors file but a %s", path, kind(info.Mode()))
	}
	tensors, metadata, err := decode(bufio.NewReaderSize(f, 1<<16), info.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("%s is not a readable safetensors file: %w", path, err)
	}
	return tensors, metadata, nil
}

func kind(m os.FileMode) string {
	if m.IsDir() {
		return "folder"
	}
	return "special file"
}

// Decode is Read for a file's content.
func Decode(content []byte) ([]Tensor, map[string]string, error) {
	return decode(bytes.NewReader(content), int64(len(content)))
}

// entry is one tensor of the header.
type entry struct {
	name       string
	dtype      string
	dims       []int
	begin, end uint64 // byte range after the header
}

// decode reads a file of size bytes. No allocation is larger than what size
// allows, whatever the header claims.
func decode(r io.Reader, size int64) ([]Tensor, map[string]string, error) {
	header, dataSize, err := readHeader(r, size)
	if err != nil {
		return nil, nil, err
	}
	entries, metadata, err := parseHeader(header)
	if err != nil {
		return nil, nil, err
	}
	if err := checkLayout(entries, dataSize); err != nil {
		return nil, nil, err
	}
	tensors := make([]Tensor, len(entries))
	for i, e := range entries {
		data, err := readValues(r, e)
		if err != nil {
			return nil, nil, err
		}
		tensors[i] = Tensor{Name: e.name, Dims: e.dims, Data: data}
	}
	return tensors, metadata, nil
}

func readHeader(r io.Reader, size int64) (header []byte, dataSize uint64, err error) {
	var length [8]byte
	if size < int64(len(length)) {
		return nil, 0, fmt.Errorf("it has %d bytes and no header", size)
	}
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, 0, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	rest := uint64(size) - 8
	switch {
	case n > maxHeader:
		return nil, 0, fmt.Errorf("its header claims %d bytes, more than the format's limit of %d", n, maxHeader)
	case n > rest:
		return nil, 0, fmt.Errorf("it is truncated: the header claims %d bytes and %d follow", n, rest)
	}
	header = make([]byte, n)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, 0, err
	}
	return header, rest - n, nil
}

// parseHeader reads the JSON object token by token at its top level, since
// the format forbids duplicate keys and a map would swallow them.
func parseHeader(header []byte) (entries []entry, metadata map[string]string, err error) {
	dec := json.NewDecoder(bytes.NewReader(header))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, nil, errors.New("its header is not a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("its header is not JSON: %w", err)
		}
		name := token.(string) // the decoder refuses other keys
		if seen[name] {
			return nil, nil, fmt.Errorf("its header names %q twice", name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := dec.Decode(&metadata); err != nil {
				return nil, nil, fmt.Errorf("its metadata are not strings: %w", err)
			}
			continue
		}
		e, err := parseEntry(dec, name)
		if err != nil {
			return nil, nil, err
		}
		entries = append(entries, e)
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("its header is not JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, nil, errors.New("its header goes on after the JSON object")
	}
	return entries, metadata, nil
}

func parseEntry(dec *json.Decoder, name string) (entry, error) {
	var fields struct {
		DType   *string   `json:"dtype"`
		Shape   *[]int    `json:"shape"`
		Offsets *[]uint64 `json:"data_offsets"`
	}
	if err := dec.Decode(&fields); err != nil {
		return entry{}, fmt.Errorf("its header entry of tensor %q is malformed: %w", name, err)
	}
	if fields.DType == nil || fields.Shape == nil || fields.Offsets == nil || len(*fields.Offsets) != 2 {
		return entry{}, fmt.Errorf("its header entry of tensor %q lacks dtype, shape or two data_offsets", name)
	}
	return entry{
		name: name, dtype: *fields.DType, dims: *fields.Shape,
		begin: (*fields.Offsets)[0], end: (*fields.Offsets)[1],
	}, nil
}

// checkLayout sorts the entries by offset and checks that each has the bytes
// of its shape and that together they cover the data without gap or overlap.
func checkLayout(entries []entry, dataSize uint64) error {
	sort.SliceStable(entries, func(i, j int) bool {
		a, b := entries[i], entries[j]
		return a.begin < b.begin || a.begin == b.begin && a.end < b.end
	})
	var at uint64
	for _, e := range entries {
		width, err := byteWidth(e)
		if err != nil {
			return err
		}
		n, err := elements(e.dims)
		if err != nil {
			return fmt.Errorf("tensor %q has %w", e.name, err)
		}
		switch {
		case e.begin < at:
			return fmt.Errorf("tensor %q overlaps the one before it", e.name)
		case e.begin > at:
			return fmt.Errorf("%d unused bytes lie before tensor %q", e.begin-at, e.name)
		case e.end < e.begin || e.end-e.begin != n*width:
			return fmt.Errorf("tensor %q of dimensions %v and type %s does not fit its byte range %d to %d", e.name, e.dims, e.dtype, e.begin, e.end)
		case e.end > dataSize:
			return fmt.Errorf("it is truncated: tensor %q ends at byte %d of %d", e.name, e.end, dataSize)
		}
		at = e.end
	}
	if at != dataSize {
		return fmt.Errorf("%d bytes follow the last tensor", dataSize-at)
	}
	return nil
}

func byteWidth(e entry) (uint64, error) {
	switch e.dtype {
	case "F32":
		return 4, nil
	case "F16", "BF16":
		return 2, nil
	}
	return 0, fmt.Errorf("tensor %q has type %s; F32, F16 and BF16 are read", e.name, e.dtype)
}

// readValues reads a checked entry's bytes, which come next.
func readValues(r io.Reader, e entry) ([]float32, error) {
	width, _ := byteWidth(e)
	data := make([]float32, (e.end-e.begin)/width)
	buffer := make([]byte, min(e.end-e.begin, 1<<16))
	for done := 0; done < len(data); {
		n := min(len(data)-done, len(buffer)/int(width))
		chunk := buffer[:n*int(width)]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", e.name, err)
		}
		convert(data[done:done+n], chunk, e.dtype)
		done += n
	}
	return data, nil
}
