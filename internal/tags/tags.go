// Package tags keeps, in a site's state folder, the keyed tags of the images of
// every version of every data domain, so that images that come back under
// another name are known. Who has no key learns nothing from a tag, not even by
// guessing an image; the key and the tags stay inside the trust boundary.
package tags

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dploda/dploda/checkpoint"
)

// Size of a tag in bytes. Among 2³⁰ images two different ones have the same tag
// with probability below 2⁻⁶⁸.
const Size = 16

// Tag is a keyed hash of an image.
type Tag = [Size]byte

const (
	magic   = "dploda image tags 1\n"
	frame   = len(magic) + 16 + 8 + sha256.Size // magic, version, count, and the checksum
	keyFile = "site.key"
	folder  = "domains"
)

// Store is the tags in one state folder.
type Store struct {
	stateDir string
	key      []byte
}

// Open reads the site's key. It makes one if there is none and no version of any
// data is known: tags that exist under a lost key could never be compared again.
func Open(stateDir string, versions int) (*Store, error) {
	path := filepath.Join(stateDir, keyFile)
	key, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && versions > 0:
		return nil, fmt.Errorf("the key of the site's image tags is missing (%s): without it nobody can tell whether images were charged before; restore it, or the whole state folder, from where it went", path)
	case errors.Is(err, fs.ErrNotExist):
		key = make([]byte, 32)
		rand.Read(key)
		err = writeDurably(path, key)
	case err == nil && len(key) != 32:
		err = fmt.Errorf("the key of the site's image tags is damaged (%s): it does not have 32 bytes", path)
	}
	if err != nil {
		return nil, err
	}
	return &Store{stateDir, key}, nil
}

// Key keys the tags.
func (s *Store) Key() []byte { return s.key }

// Format prints no key, whatever the verb.
func (s *Store) Format(f fmt.State, _ rune) { fmt.Fprint(f, "tags.Store(redacted)") }

// Names of the files of one version: pending until the ledger has its Attach.
const (
	suffix  = ".tags"
	pending = ".pending"
)

func (s *Store) path(version [16]byte) string {
	return filepath.Join(s.stateDir, folder, hex.EncodeToString(version[:])+suffix)
}

// Prepare stores the tags, in ascending order, of a version that is about to be
// attached to a domain; they are durable when Prepare returns.
func (s *Store) Prepare(version [16]byte, sorted []Tag) error {
	if err := os.MkdirAll(filepath.Join(s.stateDir, folder), 0o700); err != nil {
		return err
	}
	if err := checkpoint.SyncDirectory(s.stateDir); err != nil {
		return err
	}
	return writeDurably(s.path(version)+pending, encode(s.key, version, sorted))
}

// Confirm says that the ledger holds the prepared version: from now on a ledger
// that does not know it was lost or rolled back. See Unknown.
func (s *Store) Confirm(version [16]byte) error {
	if err := os.Rename(s.path(version)+pending, s.path(version)); err != nil {
		return err
	}
	return checkpoint.SyncDirectory(filepath.Join(s.stateDir, folder))
}

// Read returns the tags of a version that was attached to a domain. That they
// are missing or damaged is an error: nothing can be admitted beside images that
// are not known.
func (s *Store) Read(version [16]byte) ([]Tag, error) {
	path := s.path(version)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if s.Confirm(version) == nil { // a process ended before it did
			b, err = os.ReadFile(path)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the image tags of a version of a data domain are missing (%s): without them nobody can tell whether images were charged before; restore the file", path)
	}
	if err != nil {
		return nil, err
	}
	sorted, err := decode(s.key, version, b)
	if err != nil {
		return nil, fmt.Errorf("the image tags in %s are damaged, or another site's: %w; restore the file", path, err)
	}
	return sorted, nil
}

// Unknown returns the path of the confirmed tags of a version that is not among
// known, "" if there are none.
func Unknown(stateDir string, known [][16]byte) (string, error) {
	paths, err := filepath.Glob(filepath.Join(stateDir, folder, "*"+suffix))
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		if !slices.ContainsFunc(known, func(v [16]byte) bool { return filepath.Base(path) == hex.EncodeToString(v[:])+suffix }) {
			return path, nil
		}
	}
	return "", nil
}

// Share reports whether two ascending lists have a tag in common.
func Share(a, b []Tag) bool {
	for len(a) > 0 && len(b) > 0 {
		switch bytes.Compare(a[0][:], b[0][:]) {
		case 0:
			return true
		case -1:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return false
}

// encode writes the magic, the version, the number of tags in eight bytes, the
// tags, and a keyed checksum of all that.
func encode(key []byte, version [16]byte, sorted []Tag) []byte {
	b := make([]byte, 0, frame+Size*len(sorted))
	b = append(b, magic...)
	b = append(b, version[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(sorted)))
	for _, t := range sorted {
		b = append(b, t[:]...)
	}
	return append(b, checksum(key, b)...)
}

func decode(key []byte, version [16]byte, b []byte) ([]Tag, error) {
	if len(b) < frame || string(b[:len(magic)]) != magic {
		return nil, errors.New("they are not image tags of this version")
	}
	body, seal := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if !hmac.Equal(seal, checksum(key, body)) {
		return nil, errors.New("their checksum is wrong")
	}
	body = body[len(magic):]
	if [16]byte(body) != version {
		return nil, errors.New("they belong to another version than their name says")
	}
	count, body := binary.BigEndian.Uint64(body[16:]), body[24:]
	if uint64(len(body))/Size != count || len(body)%Size != 0 {
		return nil, errors.New("their number is wrong")
	}
	sorted := make([]Tag, count)
	for i := range sorted {
		sorted[i] = Tag(body[Size*i:])
	}
	if !slices.IsSortedFunc(sorted, func(a, b Tag) int { return bytes.Compare(a[:], b[:]) }) {
		return nil, errors.New("they are not in order")
	}
	return sorted, nil
}

// checksum is keyed apart from the tags, which begin otherwise.
func checksum(key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("dploda tags file\x00"))
	mac.Write(body)
	return mac.Sum(nil)
}

// writeDurably puts a file of mode 0600 at path, whole or not at all.
func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return checkpoint.SyncDirectory(filepath.Dir(path))
}
