package config

import (
	"encoding/json"
	"errors"
	"reflect"

	"github.com/goccy/go-yaml"
)

// Size is a height and a width in pixels, in a file a single side or [height,
// width].
type Size [2]int

// Square is the size of a square.
func Square(side int) Size { return Size{side, side} }

var sizeType = reflect.TypeFor[Size]()

// short is the form in a file.
func (s Size) short() any {
	if s[0] == s[1] {
		return s[0]
	}
	return []int{s[0], s[1]}
}

// MarshalYAML writes the shorter form.
func (s Size) MarshalYAML() ([]byte, error) {
	return yaml.MarshalWithOptions(s.short(), yaml.Flow(true))
}

// MarshalJSON writes the shorter form.
func (s Size) MarshalJSON() ([]byte, error) { return json.Marshal(s.short()) }

// UnmarshalYAML takes both forms.
func (s *Size) UnmarshalYAML(text []byte) error {
	var side int
	if yaml.Unmarshal(text, &side) == nil {
		*s = Square(side)
		return nil
	}
	var sides []int
	if yaml.Unmarshal(text, &sides) != nil || len(sides) != 2 {
		return errors.New("a size is a whole number or [height, width]")
	}
	*s = Size{sides[0], sides[1]}
	return nil
}
