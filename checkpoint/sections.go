// Package checkpoint keeps opaque named sections in content-addressed files.
// What it returns is whole or an error: a file's name holds the SHA-256 hash of
// its bytes, and a file has its name only once it is durable.
package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Section is one named part of a file.
type Section struct {
	Name string
	Data []byte
}

// sectionsMagic opens every file; its number is the version.
const sectionsMagic = "dploda sections 1\n"

const (
	maxSections = 1 << 10
	maxName     = 1 << 10
)

// Encode returns sections in one piece, in the order given: the magic, their
// number in four bytes, then for each the lengths of name and data in four and
// eight bytes, big-endian, and the two.
func Encode(sections []Section) ([]byte, error) {
	size := len(sectionsMagic) + 4
	names := map[string]bool{}
	for _, s := range sections {
		if len(s.Name) < 1 || len(s.Name) > maxName || names[s.Name] {
			return nil, fmt.Errorf("section %q is named twice or its name does not have 1 to %d bytes", s.Name, maxName)
		}
		names[s.Name] = true
		size += 12 + len(s.Name) + len(s.Data)
	}
	if len(sections) > maxSections {
		return nil, fmt.Errorf("%d sections are more than %d", len(sections), maxSections)
	}
	b := append(make([]byte, 0, size), sectionsMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(sections)))
	for _, s := range sections {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s.Name)))
		b = binary.BigEndian.AppendUint64(b, uint64(len(s.Data)))
		b = append(b, s.Name...)
		b = append(b, s.Data...)
	}
	return b, nil
}

var errSections = errors.New("these bytes are not a whole dploda section file of this version")

// Decode splits what Encode wrote and nothing else. The sections share b's
// memory.
func Decode(b []byte) ([]Section, error) {
	rest, ok := bytes.CutPrefix(b, []byte(sectionsMagic))
	if !ok || len(rest) < 4 {
		return nil, errSections
	}
	n := binary.BigEndian.Uint32(rest)
	if n > maxSections {
		return nil, errSections
	}
	rest = rest[4:]
	var sections []Section
	names := map[string]bool{}
	for range n {
		if len(rest) < 12 {
			return nil, errSections
		}
		name, data := uint64(binary.BigEndian.Uint32(rest)), binary.BigEndian.Uint64(rest[4:])
		rest = rest[12:]
		if name < 1 || name > maxName || name > uint64(len(rest)) || data > uint64(len(rest))-name {
			return nil, errSections
		}
		s := Section{Name: string(rest[:name]), Data: rest[name : name+data : name+data]}
		if names[s.Name] {
			return nil, errSections
		}
		names[s.Name] = true
		sections = append(sections, s)
		rest = rest[name+data:]
	}
	if len(rest) != 0 {
		return nil, errSections
	}
	return sections, nil
}

// Find returns the data of the section called name.
func Find(sections []Section, name string) ([]byte, error) {
	for _, s := range sections {
		if s.Name == name {
			return s.Data, nil
		}
	}
	return nil, fmt.Errorf("there is no section %q", name)
}
