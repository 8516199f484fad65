package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/dploda/dploda/model/unet"
)

// Inspect says what is in a file or folder that dploda writes: value encodes as
// JSON, text has the same facts for people. A file is known by its first bytes
// and, where these say nothing, by its name. Its whole content is checked as
// far as its format allows. Secrets and the values of private state are in
// neither result. The error of an unknown or damaged file is one sentence with
// its path. A base that is shipped inside the program is named as in a config:
// builtin:demo.
func Inspect(path string) (value any, text string, err error) {
	found, err := inspect(path)
	if err != nil {
		return nil, "", err
	}
	var t table
	fmt.Fprintf(&t, "%s: %s\n", path, found.title())
	found.rows(&t)
	return found, harmless(t.String()), nil
}

// facts is what a file holds; it encodes as a JSON object.
type facts interface {
	path() string
	title() string // one line, without the path
	rows(t *table) // the rest
}

// header begins every JSON object.
type header struct {
	Kind string `json:"kind"`
	Path string `json:"path"`
}

func (h header) path() string { return h.Path }

// table is text of labelled rows.
type table struct{ strings.Builder }

func (t *table) row(label, format string, args ...any) {
	fmt.Fprintf(t, "  %-22s %s\n", label, fmt.Sprintf(format, args...))
}

// harmless takes away what would steer a terminal: names and words in a file
// are whatever its writer chose.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// errUnknown is in the chain of the error of what dploda does not write.
var errUnknown = errors.New("dploda does not write such files")

func inspect(path string) (facts, error) {
	if strings.HasPrefix(path, builtinPrefix) {
		return inspectBase(path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file or folder %s", path)
	case err != nil:
		return nil, err
	case info.IsDir():
		return inspectFolder(path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is neither a file nor a folder: %w", path, errUnknown)
	}
	return inspectFile(path, info.Size())
}

// fileFormat is one kind of file: how to know it and how to read it.
type fileFormat struct {
	content func(head []byte) bool // nil: its content has no mark
	name    *regexp.Regexp         // of the base name
	read    func(path string) (facts, error)
}

// headSize is how many bytes of a file fileFormat.content sees at most.
const headSize = 64

// fileFormats are tried in this order, first all by content, then all by name.
var fileFormats = []fileFormat{
	{begins("PK\x03\x04", "PK\x05\x06"), regexp.MustCompile(`\.npz$`), inspectNPZ},
	{begins("\x89PNG\r\n"), regexp.MustCompile(`\.png$`), inspectPNG},
	{begins("dploda ledger events "), regexp.MustCompile(`^ledger\.export$`), inspectLedger},
	{begins("dploda image tags "), regexp.MustCompile(`\.tags(\.pending)?$`), note("image-tags", "the keyed tags of one version of a data domain's images, private to the site")},
	{begins("dploda sections "), regexp.MustCompile(`\.dploda$|^pretrain\.state$`), inspectSections},
	{looksLikeIdx, regexp.MustCompile(`idx\d-(ubyte|short)(\.gz)?$`), inspectIdx},
	{looksLikeSafetensors, regexp.MustCompile(`\.safetensors$`), inspectSafetensors},
	{begins(`{"step":`), regexp.MustCompile(`\.jsonl$`), inspectMetrics},
	{looksLikeJSON, regexp.MustCompile(`\.json$`), inspectJSON},
	{begins("time="), regexp.MustCompile(`\.log$`), inspectLog},
	{begins("<!DOCTYPE html>"), regexp.MustCompile(`\.html$`), inspectPage},
	{begins(statementTitle), regexp.MustCompile(`^PRIVACY\.md$`), inspectStatementText},
	{nil, regexp.MustCompile(`\.ya?ml$`), inspectConfig},
	{nil, regexp.MustCompile(`^lock$`), note("lock", "a lock, held by the process that works in this folder")},
	{nil, regexp.MustCompile(`^raft\.db$`), note("raft-log", "a site's ledger as its coordinator keeps it: inspect an export of it, private/ledger.export of a finished run")},
}

// noteFacts is a file of which no more is known than what it is for.
type noteFacts struct {
	header
	About string `json:"about"`
}

func (f *noteFacts) title() string { return f.About }
func (f *noteFacts) rows(*table)   {}

func note(kind, about string) func(string) (facts, error) {
	return func(path string) (facts, error) { return &noteFacts{header{kind, path}, about}, nil }
}

// keyName is the name of a run's secret in a state folder.
var keyName = regexp.MustCompile(`^([0-9a-f]{32})\.key$`)

func inspectFile(path string, size int64) (facts, error) {
	name := filepath.Base(path)
	// Before any look at its bytes: no word about a secret depends on them.
	if name == "site.key" {
		return note("site-key", "the key of a site's image tags; without it images that were charged are not known again")(path)
	}
	if m := keyName.FindStringSubmatch(name); m != nil {
		return &secretFacts{header{"run-secret", path}, m[1]}, nil
	}
	head, err := readHead(path)
	if err != nil {
		return nil, err
	}
	for _, f := range fileFormats {
		if f.content != nil && f.content(head) {
			return f.read(path)
		}
	}
	for _, f := range fileFormats {
		if f.name.MatchString(name) {
			return f.read(path)
		}
	}
	if size == 0 && filepath.Base(filepath.Dir(path)) == "stages" {
		return note("stage-mark", "the mark that stage "+name+" is done")(path)
	}
	if size == 0 {
		return nil, fmt.Errorf("%s is empty: %w", path, errUnknown)
	}
	return nil, fmt.Errorf("%s is of no known kind: %w", path, errUnknown)
}

func readHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return head[:n], nil
}

func begins(magics ...string) func([]byte) bool {
	return func(head []byte) bool {
		for _, m := range magics {
			if bytes.HasPrefix(head, []byte(m)) {
				return true
			}
		}
		return false
	}
}

func looksLikeJSON(head []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{"))
}

// readAtMost reads a file that has no business to be larger than limit bytes.
func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s is larger than the %d bytes that a file of its kind may have", path, limit)
	}
	return content, nil
}

// inspectFolder knows a folder by the files in it.
func inspectFolder(path string) (facts, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	found, err := inspectKnownFolder(path, entries)
	if found == nil && err == nil {
		return inspectParts(path, entries)
	}
	return found, err
}

// inspectKnownFolder returns nil for a folder without a kind of its own.
func inspectKnownFolder(path string, entries []fs.DirEntry) (facts, error) {
	switch {
	case isThere(path, "run.json"):
		return inspectRun(path)
	case isThere(path, unet.ConfigFile), isThere(path, pipelineIndex) && isThere(path, pipelineNetwork, unet.ConfigFile):
		return inspectBase(path)
	case isThere(path, pretrainState):
		return inspectSections(filepath.Join(path, pretrainState))
	case isThere(path, "ledger", "raft.db"):
		return inspectState(path)
	}
	return inspectImageFolder(path, entries)
}

func isThere(parts ...string) bool {
	_, err := os.Stat(filepath.Join(parts...))
	return err == nil
}

// folderFacts are the parts of a folder without a kind of its own, such as
// share/.
type folderFacts struct {
	header
	Parts   []facts  `json:"parts"`
	Unknown []string `json:"unknown,omitempty"`
}

func (f *folderFacts) title() string {
	return fmt.Sprintf("a folder with %s", count(len(f.Parts), "part"))
}

func (f *folderFacts) rows(t *table) {
	for _, p := range f.Parts {
		t.row(filepath.Base(p.path()), "%s", p.title())
	}
	for _, name := range f.Unknown {
		t.row(name, "not known")
	}
}

// inspectParts looks at everything in a folder, one level deep.
func inspectParts(path string, entries []fs.DirEntry) (facts, error) {
	found := &folderFacts{header: header{Kind: "folder", Path: path}}
	for _, e := range entries {
		part, err := inspectPart(filepath.Join(path, e.Name()), e)
		switch {
		case errors.Is(err, errUnknown):
			found.Unknown = append(found.Unknown, e.Name())
		case err != nil:
			return nil, err
		default:
			found.Parts = append(found.Parts, part)
		}
	}
	if len(found.Parts) == 0 {
		return nil, fmt.Errorf("%s holds nothing that is known: %w", path, errUnknown)
	}
	return found, nil
}

func inspectPart(path string, e fs.DirEntry) (facts, error) {
	if !e.IsDir() {
		return inspect(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	found, err := inspectKnownFolder(path, entries)
	if found == nil && err == nil {
		err = errUnknown
	}
	return found, err
}

// count is "1 run" or "2 runs", "1 entry" or "2 entries".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "ry"); ok {
		return fmt.Sprintf("%d %sries", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
