package safetensors

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"

	"github.com/google/renameio/v2"
)

// Write stores the tensors as F32 or F16 at path, sorted by name, with metadata (may
// be nil). The file appears whole or not at all and is durable on return.
// Equal arguments, in any order, give equal bytes.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	if err := write(path, tensors, metadata); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

func write(path string, tensors []Tensor, metadata map[string]string) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	w := bufio.NewWriterSize(f, 1<<16)
	if err := encode(w, tensors, metadata); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a rename inside the folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Encode returns the bytes that Write stores.
func Encode(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	if err := encode(&b, tensors, metadata); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func encode(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	sorted := append([]Tensor(nil), tensors...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	header, err := encodeHeader(sorted, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	buffer := make([]byte, 0, 1<<14)
	for _, t := range sorted {
		for data := t.Data; len(data) > 0; {
			n := min(len(data), cap(buffer)/4)
			buffer = buffer[:0]
			for _, v := range data[:n] {
				if t.Half {
					buffer = binary.LittleEndian.AppendUint16(buffer, toFloat16(v))
					continue
				}
				buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(v))
			}
			if _, err := w.Write(buffer); err != nil {
				return err
			}
			data = data[n:]
		}
	}
	return nil
}

// encodeHeader is the length and the JSON, padded with spaces so that the
// data begin at a multiple of 8 bytes, as the Python library writes it.
func encodeHeader(sorted []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if len(metadata) > 0 {
		b.WriteString(quote(metadataKey) + ":" + quoteMap(metadata))
	}
	var at uint64
	for i, t := range sorted {
		if err := check(t, i > 0 && sorted[i-1].Name == t.Name); err != nil {
			return nil, err
		}
		if i > 0 || len(metadata) > 0 {
			b.WriteByte(',')
		}
		dims := append([]int{}, t.Dims...) // a scalar's shape is [], not null
		shape, err := json.Marshal(dims)
		if err != nil {
			return nil, err
		}
		dtype, width := "F32", uint64(4)
		if t.Half {
			dtype, width = "F16", 2
		}
		end := at + width*uint64(len(t.Data))
		fmt.Fprintf(&b, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, quote(t.Name), dtype, shape, at, end)
		at = end
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	header := b.Bytes()
	if len(header)-8 > maxHeader {
		return nil, errors.New("the names and metadata exceed the format's header limit")
	}
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header, nil
}

func check(t Tensor, duplicate bool) error {
	n, err := elements(t.Dims)
	switch {
	case err != nil:
		return fmt.Errorf("tensor %q has %w", t.Name, err)
	case n != uint64(len(t.Data)):
		return fmt.Errorf("tensor %q has %d values, not those of its dimensions %v", t.Name, len(t.Data), t.Dims)
	case t.Name == metadataKey:
		return fmt.Errorf("no tensor can have the name %q", metadataKey)
	case duplicate:
		return fmt.Errorf("two tensors have the name %q", t.Name)
	}
	return nil
}

// quoteMap is a JSON object with its keys sorted.
func quoteMap(m map[string]string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b bytes.Buffer
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(k) + ":" + quote(m[k]))
	}
	return "{" + b.String() + "}"
}

// quote is a JSON string, without the escapes that are for HTML only.
func quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
