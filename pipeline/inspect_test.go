package pipeline

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dploda/dploda/internal/safetensors"
)

func TestInspect(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			want := write(t, t.TempDir())
			value, text, err := Inspect(want.path)
			if err != nil {
				t.Fatal(err)
			}
			if first, _, _ := strings.Cut(text, "\n"); first != want.path+": "+want.title {
				t.Errorf("the title is %q, want %q", strings.TrimPrefix(first, want.path+": "), want.title)
			}
			for _, row := range want.rows {
				if !strings.Contains(text, row) {
					t.Errorf("the text lacks %q:\n%s", row, text)
				}
			}
			encoded, err := json.Marshal(value)
			must(t, err)
			got := decoded(t, encoded)
			want.json = merged(want.json, map[string]any{"kind": want.kind, "path": want.path})
			for key, v := range want.json {
				if diff := cmp.Diff(v, got[key]); diff != "" {
					t.Errorf("the value's %s differs (-want +got):\n%s", key, diff)
				}
			}
			for _, form := range forms(inspectedSecret) {
				if strings.Contains(text+string(encoded), form) {
					t.Errorf("a secret is shown, as %s", form)
				}
			}
		})
	}
}

// forms are ways in which bytes could be printed.
func forms(secret []byte) []string {
	quoted, _ := json.Marshal(secret)
	return []string{string(secret), hex.EncodeToString(secret), strings.Trim(string(quoted), `"`),
		strings.Trim(fmt.Sprint(secret), "[]"), fmt.Sprintf("% x", secret)}
}

// A base by name, as configs name it.
func TestInspectBuiltin(t *testing.T) {
	_, text, err := Inspect("builtin:demo")
	if err != nil || !strings.HasPrefix(text, "builtin:demo: a base model of ") {
		t.Errorf("Inspect(builtin:demo) = %q, %v", text, err)
	}
	if _, _, err := Inspect("builtin:none"); err == nil || !strings.Contains(err.Error(), "builtin:demo") {
		t.Errorf("an unknown base gives the error %v", err)
	}
}

// Every file that is cut in the middle, where the format can tell, is refused
// in one sentence with its path.
func TestInspectFindsTruncation(t *testing.T) {
	cannotTell := map[string]bool{ // text that may end anywhere, and what is not read
		"run config": true, "pre-training config": true, "metrics": true, "log": true, "statement text": true,
		"run secret": true, "site key": true, "image tags": true, "run lock": true, "stage mark": true, "state's log": true,
	}
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			path := write(t, t.TempDir()).path
			content, err := os.ReadFile(path)
			if err != nil || cannotTell[name] {
				return // a folder
			}
			for _, n := range []int{len(content) / 2, len(content) - 1} {
				must(t, os.WriteFile(path, content[:n], 0o600))
				if _, text, err := Inspect(path); err == nil {
					// The newline at the end of JSON carries nothing.
					if !bytes.HasPrefix(content, []byte("{")) || n < len(content)-1 {
						t.Errorf("cut to %d of %d bytes: no error, but\n%s", n, len(content), text)
					}
				} else if !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
					t.Errorf("cut to %d of %d bytes: the error is no sentence with the path: %v", n, len(content), err)
				}
			}
		})
	}
}

func TestInspectRefuses(t *testing.T) {
	npy := func(dict string) []byte {
		return append([]byte("\x93NUMPY\x01\x00"+string([]byte{byte(len(dict)), 0})), dict...)
	}
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"notes.txt", []byte("hello"), "is of no known kind"},
		{"empty", nil, "is empty"},
		{"samples.npz", []byte("not a zip"), "not a whole npz archive"},
		{"samples.npz", zipped(t, "arr_0.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 9999999999), }")), "announces more than"},
		{"samples.npz", zipped(t, "arr_0.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }")), "is shorter than the 3 bytes"},
		{"samples.npz", zipped(t, "arr_0.npy", append(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (), }"), 1, 2)), "goes on after the 1 bytes"},
		{"samples.npz", zipped(t, "arr_0.npy", npy("{'descr': '|O8', 'fortran_order': False, 'shape': (), }")), "which dploda does not write"},
		{"samples.npz", zipped(t, "arr_0.npy", npy("__import__('os')")), "a header that is not numpy's"},
		{"a-idx1-ubyte", []byte("\x00\x00\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff"), "announces more than"},
		{"a-idx1-ubyte", []byte("\x00\x00\x08\x01\x00\x00\x00\x01ab"), "goes on after the 1 bytes"},
		{"a-idx1-ubyte", []byte("\x00\x00\x0d\x01\x00\x00\x00\x01abcd"), "does not begin with an idx header"},
		{"metrics.jsonl", []byte("{\"step\":1}\n{\"loss\":2}\n"), "metrics.jsonl:2: the line has no step"},
		{"metrics.jsonl", []byte("{\"step\":1}\n[2]\n"), "metrics.jsonl:2: the line is not a JSON object"},
		{"run.log", []byte("time=now level=INFO msg=x\npanic: y\n"), "run.log:2: the line is not one"},
		{"privacy.json", []byte(`{"format":1,"epsilon_granted":1,"mechanisms":[]}`), "has format 1"},
		{"run.json", []byte(`{"format":7,"config_hash":"x"}`), "made by another version"},
		{"other.json", []byte(`{"a":1}`), "JSON of no known kind"},
		{"PRIVACY.md", []byte("# Something"), "does not begin as one"},
		{"config.yaml", []byte("name: x\nadaptor: {}\n"), "config.yaml:2:1"},
		{"pretrain.state", []byte("dploda sections 9\n"), "not a whole dploda section file of this version"},
		{"charge-1.dploda", []byte("dploda sections 1\n"), "ends in its hash"},
		{"ledger.export", []byte("dploda ledger events 3\n"), "not an exported ledger of this version"},
	} {
		t.Run(c.name+" "+c.want, func(t *testing.T) {
			path := put(t, t.TempDir(), c.name, c.content, nil)
			_, text, err := Inspect(path)
			if err == nil {
				t.Fatalf("no error, but %s", text)
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error %q lacks the path or %q", err, c.want)
			}
		})
	}
	t.Run("nothing", func(t *testing.T) {
		if _, _, err := Inspect(filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "there is no file or folder") {
			t.Errorf("the error is %v", err)
		}
		if _, _, err := Inspect(t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds nothing that is known") {
			t.Errorf("an empty folder gives %v", err)
		}
		if _, _, err := Inspect(os.DevNull); err == nil || !strings.Contains(err.Error(), "neither a file nor a folder") {
			t.Errorf("a device gives %v", err)
		}
	})
}

// An edited ledger, a changed checkpoint and a damaged identity are found out,
// the last without a word of what it holds.
func TestInspectFindsChanges(t *testing.T) {
	for _, name := range []string{"ledger", "checkpoint", "samples", "idx images"} {
		path := writers[name](t, t.TempDir()).path
		content, err := os.ReadFile(path)
		must(t, err)
		content[len(content)/2] ^= 1
		must(t, os.WriteFile(path, content, 0o600))
		if _, _, err := Inspect(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s with one bit changed: the error is %v", name, err)
		}
	}
	path := put(t, t.TempDir(), "identity.json", fmt.Appendf(nil, `{"data_key":"%s"`, "Zq8secret"), nil)
	if _, _, err := Inspect(path); err == nil || strings.Contains(err.Error(), "Zq8") {
		t.Errorf("the error of a damaged identity is %v", err)
	}
}

// Content comes before the name.
func TestInspectByContent(t *testing.T) {
	for name, kind := range map[string]string{"samples": "npz", "adapter": "adapter", "ledger": "ledger", "picture": "png", "report": "report", "idx images": "idx", "metrics": "metrics"} {
		path := writers[name](t, t.TempDir()).path
		renamed := filepath.Join(t.TempDir(), "renamed.yaml")
		must(t, os.Rename(path, renamed))
		value, _, err := Inspect(renamed)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		encoded, err := json.Marshal(value)
		must(t, err)
		if got := decoded(t, encoded)["kind"]; got != kind {
			t.Errorf("%s under another name is a %v", name, got)
		}
	}
}

// A folder in which a pre-training is under way is that pre-training.
func TestInspectPretrainingFolder(t *testing.T) {
	dir := t.TempDir()
	must(t, inspectedPretrainer(t).save(filepath.Join(dir, pretrainState), 3))
	value, _, err := Inspect(dir)
	must(t, err)
	if f, ok := value.(*pretrainingFacts); !ok || f.Step != 3 {
		t.Errorf("the folder is %+v", value)
	}
}

// A crash may cut the last line of the metrics: that is no damage.
func TestInspectCutMetrics(t *testing.T) {
	path := put(t, t.TempDir(), "metrics.jsonl", []byte("{\"step\":3}\n{\"step\":4,\"ph"), nil)
	value, text, err := Inspect(path)
	must(t, err)
	if f := value.(*metricsFacts); f.Lines != 1 || f.LastStep != 3 || !f.CutOff || !strings.Contains(text, "cut off by a crash") {
		t.Errorf("got %+v and %s", f, text)
	}
}

// Names in a file must not reach the terminal as they are.
func TestInspectPrintsNoControls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	must(t, safetensors.Write(path, []safetensors.Tensor{{Name: "a\x1b[2J\r", Dims: []int{1}, Data: []float32{0}}}, map[string]string{"k": "\x07"}))
	_, text, err := Inspect(path)
	must(t, err)
	if strings.ContainsAny(text, "\x1b\r\x07") || !strings.Contains(text, "a\ufffd[2J\ufffd") {
		t.Errorf("the text is %q", text)
	}
}

// FuzzInspect gives arbitrary bytes the names that Inspect knows. It must not
// panic, and must answer with values that encode or an error with the path.
func FuzzInspect(f *testing.F) {
	names := []string{"x", "samples.npz", "x.png", "ledger.export", "sum", "pretrain.state", "a-idx3-ubyte.gz", "adapter.safetensors",
		"metrics.jsonl", "report.json", "report.html", "identity.json", "run.log", "PRIVACY.md", "config.yaml"}
	for i, kind := range slices.Sorted(maps.Keys(writers)) {
		path := writers[kind](f, f.TempDir()).path
		if content, err := os.ReadFile(path); err == nil && len(content) <= maxFuzzed {
			f.Add(uint8(0), content) // known by its content alone
			f.Add(uint8(i), content) // under another's name
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, which uint8, content []byte) {
		if len(content) > maxFuzzed {
			return // what is slow is not what is wrong
		}
		name := names[int(which)%len(names)]
		if name == "sum" {
			name = fmt.Sprintf("sum.%x.dploda", sha256.Sum256(content))
		}
		path := put(t, dir, name, content, nil)
		defer os.Remove(path)
		value, text, err := Inspect(path)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error lacks the path: %v", err)
			}
			return
		}
		if _, err := json.Marshal(value); err != nil {
			t.Errorf("the value does not encode: %v", err)
		}
		if !strings.HasPrefix(text, path+": ") || text != harmless(text) {
			t.Errorf("the text is %q", text)
		}
	})
}

const maxFuzzed = 1 << 14

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, dir, name string, content []byte, err error) string {
	t.Helper()
	must(t, err)
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, content, 0o600))
	return path
}

func decoded(t testing.TB, content []byte) map[string]any {
	t.Helper()
	var object map[string]any
	must(t, json.Unmarshal(content, &object))
	return object
}

func merged(a, b map[string]any) map[string]any {
	for key, v := range a {
		b[key] = v
	}
	return b
}

// zipped is an archive of one entry.
func zipped(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	must(t, err)
	_, err = w.Write(content)
	must(t, err)
	must(t, z.Close())
	return b.Bytes()
}
