package config

import (
	"fmt"
	"regexp"
	"strings"
)

// ValueError is an impossible value of a key.
type ValueError struct {
	Key     string // "adapter.rank"
	Problem string // "must be 1 to 64, not 0"
}

func (e *ValueError) Error() string { return e.Key + " " + e.Problem }

// checker keeps the first failure.
type checker struct{ first *ValueError }

func (c *checker) err() error {
	if c.first == nil {
		return nil // not a nil pointer in an interface
	}
	return c.first
}

func (c *checker) require(key string, ok bool, problem string, args ...any) {
	if !ok && c.first == nil {
		c.first = &ValueError{Key: key, Problem: fmt.Sprintf(problem, args...)}
	}
}

func (c *checker) within(key string, v, lo, hi int) {
	c.require(key, v >= lo && v <= hi, "must be %d to %d, not %d", lo, hi, v)
}

func (c *checker) positive(key string, v, limit int) {
	c.within(key, v, 1, limit)
}

// rate is a learning rate.
func (c *checker) rate(key string, v float64) {
	c.require(key, v > 0 && v <= 100, "must be more than 0 and at most 100, not %v", v)
}

// decay is a share below 1.
func (c *checker) decay(key string, v float64) {
	c.require(key, v >= 0 && v < 1, "must be at least 0 and less than 1, not %v", v)
}

func (c *checker) oneOf(key, v string, choices ...string) {
	for _, choice := range choices {
		if v == choice {
			return
		}
	}
	list := strings.Join(choices[:len(choices)-1], ", ") + " or " + choices[len(choices)-1]
	if v == "" {
		c.require(key, false, "must be given: %s", list)
		return
	}
	c.require(key, false, "must be %s, not %q", list, v)
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ValidName reports whether name can name a run or a data domain.
func ValidName(name string) bool { return plainName.MatchString(name) }

// name is one that can be part of file names.
func (c *checker) name(key, v string) {
	c.require(key, plainName.MatchString(v), "must be 1 to 64 letters, digits, dots, dashes and underscores, not %q", v)
}
