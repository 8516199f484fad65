package tags

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func small(bytes ...byte) (sorted []Tag) {
	slices.Sort(bytes)
	for _, b := range bytes {
		sorted = append(sorted, Tag{b})
	}
	return sorted
}

// write attaches a version, as a process does that does not end meanwhile.
func write(t *testing.T, s *Store, version [16]byte, sorted []Tag) {
	t.Helper()
	if err := s.Prepare(version, sorted); err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(version); err != nil {
		t.Fatal(err)
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	version, want := [16]byte{9}, small(3, 1, 3, 200)
	write(t, s, version, want)
	again, err := Open(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Read(version)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	for _, path := range []string{filepath.Join(dir, "site.key"), s.path(version)} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v %s %x", s, s, s, s, s); strings.Contains(text, fmt.Sprintf("%x", s.key)) || !strings.Contains(text, "redacted") {
		t.Errorf("the key is printed: %s", text)
	}
}

// What was lost or changed is refused in a sentence, and never read as fewer
// images.
//
// Tried: a checksum without key; no comparison of the version.
func TestDamageIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := [16]byte{1}, [16]byte{2}
	for _, v := range [][16]byte{a, b} {
		write(t, s, v, small(1, 2, v[0]))
	}
	whole, err := os.ReadFile(s.path(a))
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(s.path(a), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(a); err == nil || !strings.Contains(err.Error(), "restore the file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		refuse(fmt.Sprint("byte ", i), changed)
		refuse(fmt.Sprint("cut at ", i), whole[:i])
	}
	other, err := os.ReadFile(s.path(b))
	if err != nil {
		t.Fatal(err)
	}
	refuse("another version's", other)
	refuse("longer", append(bytes.Clone(whole), 0))
	refuse("made under another key", encode(make([]byte, 32), a, small(1, 2, 3)))
	if err := os.Remove(s.path(a)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(a); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing file: %v", err)
	}
}

// A lost key is not replaced while a version is known under it.
//
// Tried: always making one.
func TestKeyIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, 1); err == nil || !strings.Contains(err.Error(), "site.key") {
		t.Errorf("a missing key: %v", err)
	}
	first, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(dir, 0)
	if err != nil || !bytes.Equal(first.Key(), second.Key()) {
		t.Error("opening again changes the key")
	}
	if err := os.WriteFile(filepath.Join(dir, "site.key"), first.Key()[:31], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, 0); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a short key: %v", err)
	}
}

// Share is a comparison of all pairs.
func TestShare(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOfN(rapid.Byte(), 0, 12)
		a, b := small(list.Draw(rt, "a")...), small(list.Draw(rt, "b")...)
		want := slices.ContainsFunc(a, func(x Tag) bool { return slices.Contains(b, x) })
		if Share(a, b) != want {
			rt.Fatalf("%v and %v: %v", a, b, !want)
		}
	})
}

// A process may end between Prepare and Confirm: if the ledger has the version,
// its tags are there, else they mean nothing. Confirmed tags of a version that
// the ledger does not know are found.
//
// Tried: Unknown without suffix; Prepare under the final name.
func TestPreparedTags(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	version, want := [16]byte{9}, small(3, 1)
	if err := s.Prepare(version, want); err != nil {
		t.Fatal(err)
	}
	if path, err := Unknown(dir, nil); path != "" || err != nil {
		t.Errorf("prepared tags are taken for confirmed ones: %s, %v", path, err)
	}
	if got, err := s.Read(version); err != nil || !slices.Equal(got, want) {
		t.Errorf("prepared tags of an attached version: %v, %v", got, err)
	}
	if path, err := Unknown(dir, [][16]byte{{1}, version}); path != "" || err != nil {
		t.Errorf("a known version's tags: %s, %v", path, err)
	}
	if path, err := Unknown(dir, [][16]byte{{1}}); path != s.path(version) || err != nil {
		t.Errorf("a forgotten version's tags: %q, %v", path, err)
	}
}

func FuzzDecode(f *testing.F) {
	key, version := bytes.Repeat([]byte{1}, 32), [16]byte{5}
	whole := encode(key, version, small(1, 2, 2))
	f.Add(whole[:len(whole)-32])
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append(bytes.Clone(body), checksum(key, body)...) // else no mutation would pass it
		sorted, err := decode(key, version, b)
		if err == nil && !bytes.Equal(encode(key, version, sorted), b) {
			t.Fatal("tags that are read are written differently")
		}
	})
}
