// Package config reads the YAML files that describe runs. It is the one place
// where defaults are filled in and values are checked: what it returns is
// possible. A key comes from a flag, else the environment (DPLODA_ and the key
// in capitals: DPLODA_PRIVACY_EPSILON), else the file, else the default; flags
// are set on the returned spec, which is then validated again.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// MaxFile bounds a config file, in bytes.
const MaxFile = 1 << 20

// Lookup finds an environment variable, as os.LookupEnv does.
type Lookup func(name string) (string, bool)

// LoadRun reads a run's file, with the process's environment.
func LoadRun(path string) (*RunSpec, error) {
	content, err := read(path)
	if err != nil {
		return nil, err
	}
	return ParseRun(path, content, os.LookupEnv)
}

// ParseRun is LoadRun for a file's content; name stands for it in errors, and
// env may be nil.
func ParseRun(name string, content []byte, env Lookup) (*RunSpec, error) {
	spec := defaultRun()
	return parse(name, content, env, &spec)
}

// LoadPretrain reads a pre-training's file, with the process's environment.
func LoadPretrain(path string) (*PretrainSpec, error) {
	content, err := read(path)
	if err != nil {
		return nil, err
	}
	return ParsePretrain(path, content, os.LookupEnv)
}

// ParsePretrain is to LoadPretrain what ParseRun is to LoadRun.
func ParsePretrain(name string, content []byte, env Lookup) (*PretrainSpec, error) {
	spec := defaultPretrain()
	return parse(name, content, env, &spec)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no config file %s; examples/ has some to begin with", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > MaxFile {
		return nil, fmt.Errorf("%s is not a config file: it is larger than %d bytes", path, MaxFile)
	}
	return content, nil
}

// spec is a type that this package reads.
type spec[T any] interface {
	*T
	fill()
	Validate() error
}

// parse fills s, which holds the defaults, from the file and the environment.
func parse[T any, S spec[T]](name string, content []byte, env Lookup, s S) (S, error) {
	doc, err := parseDocument(name, content, reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	if r, ok := any(s).(*RunSpec); ok && doc.has("prototypes") {
		r.Prototypes = DefaultPrototypes()
	}
	if err := doc.decode(s); err != nil {
		return nil, err
	}
	origin, err := applyEnvironment(s, env)
	if err != nil {
		return nil, err
	}
	s.fill()
	if err := s.Validate(); err != nil {
		return nil, doc.locate(err, origin)
	}
	return s, nil
}

// applyEnvironment sets the keys that the environment names and returns, for
// each, the variable.
func applyEnvironment(s any, env Lookup) (origin map[string]string, err error) {
	origin = map[string]string{}
	if env == nil {
		return origin, nil
	}
	for _, key := range leaves(reflect.TypeOf(s).Elem()) {
		variable := "DPLODA_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		text, ok := env(variable)
		if !ok {
			continue
		}
		field := find(reflect.ValueOf(s).Elem(), key)
		if err := yaml.Unmarshal([]byte(text), field.Addr().Interface()); err != nil {
			return nil, fmt.Errorf("the environment's %s: %s must be %s, not %q", variable, key, describe(field.Type()), text)
		}
		origin[key] = variable
	}
	return origin, nil
}

// leaves are the keys of a struct type that hold values, as "section.key".
func leaves(t reflect.Type) (keys []string) {
	for f := range fields(t) {
		key := yamlName(f)
		if inner := section(f.Type); inner != nil {
			for _, k := range leaves(inner) {
				keys = append(keys, key+"."+k)
			}
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

// find is the field of a key that leaves returned; a section that is absent
// comes into being with its defaults.
func find(v reflect.Value, key string) reflect.Value {
	name, rest, nested := strings.Cut(key, ".")
	for f := range fields(v.Type()) {
		if yamlName(f) != name {
			continue
		}
		field := v.FieldByIndex(f.Index)
		if !nested {
			return field
		}
		if field.Kind() == reflect.Pointer {
			if field.IsNil() {
				field.Set(reflect.ValueOf(DefaultPrototypes())) // the only optional section
			}
			field = field.Elem()
		}
		return find(field, rest)
	}
	panic("config: no key " + key)
}
