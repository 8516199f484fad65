package config

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is a parsed file that knows where its keys stand.
type document struct {
	name  string
	lines []string
	root  ast.Node
	keys  map[string]place
}

// place is where a key's value begins, from 1; columns count characters.
type place struct{ line, column int }

// SyntaxError is a mistake in a file, with its place.
type SyntaxError struct {
	File         string
	Line, Column int // from 1
	Problem      string
	Source       string // the line
}

// Error is one sentence, and below it the line with a caret under the place.
func (e *SyntaxError) Error() string {
	number := fmt.Sprintf("%5d | ", e.Line)
	// Tabs stay tabs, so that the caret stays below its character.
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, string([]rune(e.Source)[:min(e.Column-1, utf8.RuneCountInString(e.Source))]))
	return fmt.Sprintf("%s:%d:%d: %s\n%s%s\n%s%s^", e.File, e.Line, e.Column, e.Problem,
		number, e.Source, strings.Repeat(" ", len(number)), indent)
}

// parseDocument reads the file's structure and checks its keys against the
// fields of type t.
func parseDocument(name string, content []byte, t reflect.Type) (*document, error) {
	d := &document{name: name, lines: strings.Split(string(content), "\n"), keys: map[string]place{}}
	if !utf8.Valid(content) {
		return nil, fmt.Errorf("%s is not a config file: it is not UTF-8 text", name)
	}
	file, err := parser.ParseBytes(content, 0, parser.AllowDuplicateMapKey()) // walk has the better words
	if err != nil {
		return nil, d.translate(err)
	}
	if len(file.Docs) > 1 && file.Docs[1].Body != nil {
		return nil, d.fail(file.Docs[1].Body.GetToken(), "a second document begins; a config file holds one")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.CommentType {
		return nil, fmt.Errorf("%s is empty; examples/ holds complete config files", name)
	}
	d.root = file.Docs[0].Body
	return d, d.walk("", d.root, t)
}

// walk checks the keys of a section and notes their places.
func (d *document) walk(path string, node ast.Node, t reflect.Type) error {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return d.fail(node.GetToken(), "%s must be a section of keys, not empty", path)
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return d.fail(node.GetToken(), "anchors, aliases and tags are not supported")
	default:
		return d.fail(node.GetToken(), "%s must be a section of keys, not %s", orFile(path), quote(node))
	}
	known := map[string]reflect.Type{}
	for f := range fields(t) {
		known[yamlName(f)] = f.Type
	}
	for _, pair := range pairs {
		key := pair.Key.GetToken()
		kind, ok := known[key.Value]
		if !ok {
			return d.fail(key, "%s", unknownKey(path, key.Value, t))
		}
		full := key.Value
		if path != "" {
			full = path + "." + full
		}
		if d.has(full) {
			return d.fail(key, "%s is given twice", full)
		}
		value := start(pair.Value).Position
		d.keys[full] = place{value.Line, value.Column}
		var err error
		if inner := section(kind); inner != nil {
			err = d.walk(full, pair.Value, inner)
		} else {
			err = d.checkValue(full, pair.Value, kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkValue is stricter than the library, which takes 1.5 for a whole number
// and "8" for a number.
func (d *document) checkValue(key string, node ast.Node, t reflect.Type) error {
	fits := false
	switch n := node.(type) {
	case *ast.NullNode:
		return d.fail(node.GetToken(), "%s has no value", key)
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return d.fail(node.GetToken(), "anchors, aliases and tags are not supported")
	case *ast.SequenceNode:
		if t.Kind() == reflect.Slice {
			for _, entry := range n.Values {
				if err := d.checkValue("each of "+key, entry, t.Elem()); err != nil {
					return err
				}
			}
			return nil
		}
		if t == sizeType && len(n.Values) == 2 {
			fits = d.checkValue(key, n.Values[0], t.Elem()) == nil && d.checkValue(key, n.Values[1], t.Elem()) == nil
		}
	case *ast.IntegerNode: // also text, such as the name of a class
		if text := node.GetToken().Value; t.Kind() == reflect.String && text != fmt.Sprint(n.Value) {
			return d.fail(node.GetToken(), "%s must be text: %s without quotation marks is the number %v", key, text, n.Value)
		}
		fits = t == sizeType && inRange(n.Value, reflect.Int) || t.Kind() == reflect.Float64 || t.Kind() == reflect.String || inRange(n.Value, t.Kind())
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		fits = t.Kind() == reflect.Float64
	case *ast.BoolNode:
		fits = t.Kind() == reflect.Bool
	case *ast.LiteralNode:
		fits = t.Kind() == reflect.String
	case *ast.StringNode: // the parser takes 1e-5 for text
		fits = t.Kind() == reflect.String || t.Kind() == reflect.Float64 && exponent.MatchString(node.GetToken().Origin)
	}
	if !fits {
		return d.fail(start(node), "%s must be %s, not %s", key, describe(t), quote(node))
	}
	return nil
}

// inRange tells whether the parser's integer fits a kind of integer.
func inRange(v any, kind reflect.Kind) bool {
	small, negativeAllowed := v.(int64) // the parser's type of negative ones
	_, large := v.(uint64)
	switch kind {
	case reflect.Int:
		return negativeAllowed && small >= math.MinInt || large && v.(uint64) <= math.MaxInt
	case reflect.Uint64:
		return large || negativeAllowed && small >= 0
	}
	return false
}

// exponent is a number that YAML 1.2 allows and the parser does not know, by
// its text in the file: quoted ones are text.
var exponent = regexp.MustCompile(`^\s*[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+\s*$`)

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// start is the first token of a node: a mapping's own token is its colon.
func start(node ast.Node) *token.Token {
	switch n := node.(type) {
	case *ast.MappingNode:
		if n.IsFlowStyle || len(n.Values) == 0 {
			return n.Start
		}
		return n.Values[0].Key.GetToken()
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return node.GetToken()
}

func unknownKey(path, key string, t reflect.Type) string {
	var names []string
	for f := range fields(t) {
		names = append(names, yamlName(f))
	}
	where := ""
	if path != "" {
		where = " in " + path
	}
	if near := nearest(key, names); near != "" {
		return fmt.Sprintf("unknown key %q%s; did you mean %q?", key, where, near)
	}
	return fmt.Sprintf("unknown key %q%s; known are %s", key, where, strings.Join(names, ", "))
}

func (d *document) has(key string) bool {
	_, ok := d.keys[key]
	return ok
}

// decode puts the values into dst, which keeps what the file does not name.
func (d *document) decode(dst any) error {
	if err := yaml.NodeToValue(d.root, dst, yaml.Strict()); err != nil {
		return d.translate(err)
	}
	return nil
}

// translate gives the library's errors our form. Mistyped values do not get
// here: checkValue has seen them; numbers out of range do.
func (d *document) translate(err error) error {
	var positioned yaml.Error
	if errors.As(err, &positioned) && positioned.GetToken() != nil {
		return d.fail(positioned.GetToken(), "%s", positioned.GetMessage())
	}
	return fmt.Errorf("%s: %w", d.name, err)
}

// locate adds to a ValueError where its key's value comes from.
func (d *document) locate(err error, origin map[string]string) error {
	var impossible *ValueError
	if !errors.As(err, &impossible) {
		return err
	}
	if variable, ok := origin[impossible.Key]; ok {
		return fmt.Errorf("the environment's %s: %w", variable, err)
	}
	if p, ok := d.keys[impossible.Key]; ok {
		return d.failAt(p.line, p.column, err.Error())
	}
	return fmt.Errorf("%s: %w", d.name, err)
}

func (d *document) fail(at *token.Token, problem string, args ...any) error {
	return d.failAt(at.Position.Line, at.Position.Column, fmt.Sprintf(problem, args...))
}

func (d *document) failAt(line, column int, problem string) error {
	source := ""
	if line >= 1 && line <= len(d.lines) {
		source = strings.TrimRight(d.lines[line-1], "\r")
	}
	return &SyntaxError{File: d.name, Line: line, Column: max(column, 1), Problem: problem, Source: source}
}

// quote is a value in an error.
func quote(node ast.Node) string {
	switch node.(type) {
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a section"
	}
	return fmt.Sprintf("%q", node.GetToken().Value)
}

// fields are the fields of a struct type that have keys.
func fields(t reflect.Type) iter.Seq[reflect.StructField] {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// section is the struct type of a section's field, or nil for a value.
func section(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct {
		return t
	}
	return nil
}

// describe is a type in a user's words.
func describe(t reflect.Type) string {
	if t == sizeType {
		return "a whole number or [height, width]"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Uint64:
		return "a whole number from 0"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "text"
	default:
		return "a list, each " + describe(t.Elem())
	}
}
