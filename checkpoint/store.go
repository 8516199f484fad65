package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Ref names a stored file: a label, which need not be unique, and the SHA-256
// hash of its bytes.
type Ref struct {
	Label string
	Hash  [32]byte
}

func (r Ref) filename() string { return r.Label + "." + hex.EncodeToString(r.Hash[:]) + suffix }

const (
	suffix    = ".dploda"
	temporary = ".tmp-"
)

// Errors of Get.
var (
	ErrNotFound = errors.New("there is no such file in the store")
	ErrDamaged  = errors.New("the file does not have the content that its name says: it was cut off or changed")
)

// Store is a directory of section files. One process uses it at a time.
type Store struct {
	dir string
	// fault, in tests, may fail an operation before it happens or, for "write",
	// limit how many bytes it writes.
	fault func(op string) (limit int, err error)
}

// OpenStore returns the store in dir, which it makes if needed, without what a
// crash left half written.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, explain(dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return &Store{dir: dir}, nil
}

// InjectFaults makes f decide, before each "create", "write", "sync", "rename"
// and "sync directory", whether the operation fails and how many bytes a write
// may still write (negative: all). It is for tests.
func (s *Store) InjectFaults(f func(op string) (limit int, err error)) { s.fault = f }

// Put stores sections under label. When it returns without an error the file
// is durable: written beside its place, synced, renamed, its directory synced.
// On an error nothing is left under the file's name.
func (s *Store) Put(label string, sections []Section) (Ref, error) {
	if err := validLabel(label); err != nil {
		return Ref{}, err
	}
	b, err := Encode(sections)
	if err != nil {
		return Ref{}, err
	}
	ref := Ref{Label: label, Hash: sha256.Sum256(b)}
	if err := s.put(ref, b); err != nil {
		return Ref{}, explain(s.Path(ref), err)
	}
	return ref, nil
}

func (s *Store) put(ref Ref, b []byte) error {
	if _, err := s.check("create"); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, temporary+"*")
	if err != nil {
		return err
	}
	if err := s.fill(f, b); err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	if err := f.Close(); err != nil {
		os.Remove(f.Name())
		return err
	}
	if _, err := s.check("rename"); err != nil {
		os.Remove(f.Name())
		return err
	}
	if err := os.Rename(f.Name(), s.Path(ref)); err != nil {
		os.Remove(f.Name())
		return err
	}
	return s.syncDirectory()
}

func (s *Store) fill(f *os.File, b []byte) error {
	limit, fault := s.check("write")
	if limit >= 0 && limit < len(b) {
		b = b[:limit]
	}
	if _, err := f.Write(b); err != nil {
		return err
	}
	if fault != nil {
		return fault
	}
	if _, err := s.check("sync"); err != nil {
		return err
	}
	return f.Sync()
}

func (s *Store) syncDirectory() error {
	if _, err := s.check("sync directory"); err != nil {
		return err
	}
	return SyncDirectory(s.dir)
}

func (s *Store) check(op string) (int, error) {
	if s.fault == nil {
		return -1, nil
	}
	return s.fault(op)
}

// SyncDirectory makes the names in dir durable.
func SyncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Get returns the sections of a file after comparing its bytes with its hash.
func (s *Store) Get(ref Ref) ([]Section, error) {
	sections, err := ReadFile(s.Path(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", s.Path(ref), ErrNotFound)
	}
	return sections, err
}

// ReadFile returns the sections of one stored file, wherever it lies, after
// comparing its bytes with the hash in its name.
func ReadFile(path string) ([]Section, error) {
	ref, ok := parse(filepath.Base(path))
	if !ok {
		return nil, fmt.Errorf("%s: the name of a dploda section file ends in its hash and %s", path, suffix)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(b) != ref.Hash {
		return nil, fmt.Errorf("%s: %w", path, ErrDamaged)
	}
	sections, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return sections, nil
}

// List returns all files, by label and then by hash.
func (s *Store) List() ([]Ref, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, e := range entries {
		if ref, ok := parse(e.Name()); ok {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, func(a, b Ref) int { return strings.Compare(a.filename(), b.filename()) })
	return refs, nil
}

// Keep removes every file for which keep is false.
func (s *Store) Keep(keep func(Ref) bool) error {
	refs, err := s.List()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if keep(ref) {
			continue
		}
		if err := os.Remove(s.Path(ref)); err != nil {
			return err
		}
	}
	return nil
}

// Path returns where ref is or would be stored.
func (s *Store) Path(ref Ref) string { return filepath.Join(s.dir, ref.filename()) }

func parse(filename string) (Ref, bool) {
	name, ok := strings.CutSuffix(filename, suffix)
	label, digits, found := strings.Cut(name, ".")
	if !ok || !found || validLabel(label) != nil || len(digits) != 64 || strings.ToLower(digits) != digits {
		return Ref{}, false
	}
	h, err := hex.DecodeString(digits)
	if err != nil {
		return Ref{}, false
	}
	return Ref{Label: label, Hash: [32]byte(h)}, true
}

func validLabel(label string) error {
	if len(label) < 1 || len(label) > 120 {
		return fmt.Errorf("the label %q must have 1 to 120 characters", label)
	}
	for _, c := range label {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("the label %q holds %q; allowed are a-z, 0-9 and '-'", label, c)
		}
	}
	return nil
}

// explain says what a person can do about err.
func explain(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s cannot be written, the disk is full: free some space and run the same command again; nothing is lost (%w)", path, err)
	}
	return fmt.Errorf("%s cannot be written: %w", path, err)
}
