package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func sample() []Section {
	return []Section{{"position", []byte("finetune 12")}, {"learner", bytes.Repeat([]byte{1, 2, 3}, 1000)}, {"empty", []byte{}}}
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPutGetListKeep(t *testing.T) {
	s := open(t)
	a, err := s.Put("finetune-000012", sample())
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Put("finetune-000002", sample()[:1])
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(a)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Error(diff)
	}
	again, err := s.Put("finetune-000012", sample())
	if err != nil || again != a {
		t.Errorf("storing the same sections twice: %v, %v", again, err)
	}
	refs, err := s.List()
	if err != nil || !slices.Equal(refs, []Ref{b, a}) {
		t.Errorf("list %v, %v", refs, err)
	}
	if err := s.Keep(func(r Ref) bool { return r == a }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(b); !errors.Is(err, ErrNotFound) {
		t.Errorf("a removed file: %v", err)
	}
	if _, err := s.Get(a); err != nil {
		t.Errorf("a kept file: %v", err)
	}
	if data, err := Find(got, "position"); err != nil || string(data) != "finetune 12" {
		t.Errorf("find: %q, %v", data, err)
	}
	if _, err := Find(got, "missing"); err == nil {
		t.Error("a missing section is found")
	}
}

// Any flipped bit and any cut is found by the hash.
func TestDamageIsFound(t *testing.T) {
	s := open(t)
	ref, err := s.Put("x", sample())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(s.Path(ref))
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(name string, b []byte) {
		if err := os.WriteFile(s.Path(ref), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(ref); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 0; i < len(whole); i += 37 {
		b := bytes.Clone(whole)
		b[i] ^= 4
		damaged(fmt.Sprint("flip at ", i), b)
	}
	damaged("empty", nil)
	damaged("half", whole[:len(whole)/2])
	damaged("one byte more", append(bytes.Clone(whole), 0))
}

// A crash or a full disk at any operation leaves either the whole file or none,
// and the next opening removes what lies around.
func TestFaults(t *testing.T) {
	ops := []string{"create", "write", "sync", "rename", "sync directory"}
	for _, failing := range ops {
		s := open(t)
		kept, err := s.Put("kept", sample())
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		s.InjectFaults(func(op string) (int, error) {
			if op != ops[seen] {
				t.Errorf("operation %q comes where %q is due", op, ops[seen])
			}
			seen++
			if op == failing {
				return 10, fmt.Errorf("injected: %w", syscall.ENOSPC)
			}
			return -1, nil
		})
		_, err = s.Put("lost", sample())
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "disk is full: free some space") {
			t.Errorf("%s: %v", failing, err)
		}
		if entries, _ := os.ReadDir(s.dir); len(entries) > 2 || failing != "sync directory" && len(entries) != 1 {
			t.Errorf("%s: %d files are left", failing, len(entries))
		}
		refs, _ := s.List()
		for _, ref := range refs {
			if _, err := s.Get(ref); err != nil {
				t.Errorf("%s: a listed file is not whole: %v", failing, err)
			}
		}
		if !slices.Contains(refs, kept) {
			t.Errorf("%s: an earlier file is gone", failing)
		}
	}
}

func TestOpenRemovesWhatACrashLeft(t *testing.T) {
	s := open(t)
	ref, err := s.Put("x", sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{temporary + "123", "stranger.txt", "x.abc" + suffix} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s, err = OpenStore(s.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, temporary+"123")); !os.IsNotExist(err) {
		t.Error("the temporary file of a crash is still there")
	}
	if refs, _ := s.List(); !slices.Equal(refs, []Ref{ref}) {
		t.Errorf("list %v", refs)
	}
}

func TestRefusals(t *testing.T) {
	s := open(t)
	for _, label := range []string{"", "Upper", "a.b", "a/b", strings.Repeat("x", 121)} {
		if _, err := s.Put(label, nil); err == nil {
			t.Errorf("label %q is accepted", label)
		}
	}
	if _, err := s.Put("x", []Section{{"a", nil}, {"a", nil}}); err == nil {
		t.Error("a section is accepted twice")
	}
	if _, err := ReadFile(filepath.Join(s.dir, "no-hash"+suffix)); err == nil {
		t.Error("a name without a hash is read")
	}
}

func TestSectionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.StringN(1, 20, 80), rapid.ID[string]).Draw(rt, "names")
		var sections []Section
		for _, n := range names {
			sections = append(sections, Section{n, rapid.SliceOf(rapid.Byte()).Draw(rt, "data")})
		}
		b, err := Encode(sections)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil || len(got) != len(sections) {
			rt.Fatalf("%v, %v", got, err)
		}
		for i := range got {
			if got[i].Name != sections[i].Name || !bytes.Equal(got[i].Data, sections[i].Data) {
				rt.Fatalf("section %d: %v", i, got[i])
			}
		}
		if _, err := Decode(b[:rapid.IntRange(0, len(b)-1).Draw(rt, "cut")]); err == nil {
			rt.Fatal("a cut encoding decodes")
		}
	})
}

func FuzzDecode(f *testing.F) {
	b, _ := Encode(sample()[:1])
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		sections, err := Decode(b)
		if err != nil {
			return
		}
		back, err := Encode(sections)
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("%x decodes but encodes as %x (%v)", b, back, err)
		}
	})
}
