package account

import "fmt"

// Adjacency says which pairs of data sets a guarantee holds for. The zero value
// is the one that dploda trains under.
type Adjacency uint8

const (
	// AddRemove: one data set holds one example more than the other.
	AddRemove Adjacency = iota
	// ReplaceOne: the data sets are equally large and differ in one example. A
	// guarantee under it is about twice as dear.
	ReplaceOne
)

// String is the adjacency in a statement's words.
func (a Adjacency) String() string {
	switch a {
	case AddRemove:
		return "add-remove"
	case ReplaceOne:
		return "replace-one"
	}
	return fmt.Sprintf("adjacency %d", uint8(a))
}

// MarshalText writes String's words.
func (a Adjacency) MarshalText() ([]byte, error) {
	if a > ReplaceOne {
		return nil, fmt.Errorf("there is no adjacency %d", uint8(a))
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (a *Adjacency) UnmarshalText(text []byte) error {
	switch string(text) {
	case AddRemove.String():
		*a = AddRemove
	case ReplaceOne.String():
		*a = ReplaceOne
	default:
		return fmt.Errorf("the adjacency is %q, it must be add-remove or replace-one", text)
	}
	return nil
}
