package outlets

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOnlyWhatIsListedGoesOut reads the program's source and holds against the
// lists of allowed_test.go, in both directions: the fields of what is written as
// metrics, progress or messages, one by one with their types; the messages that
// there are; every call of a logger with its arguments; and every call that
// shows something or appends a metric.
//
// What a string holds, such as a failure's reason, other tests look at (see
// docs/threat-model.md); whether a listed value is fit to be shown, the reader of
// the list.
func TestOnlyWhatIsListedGoesOut(t *testing.T) {
	p := parseProgram(t)
	for _, problem := range p.check() {
		t.Error(problem)
	}
}

// TestPlantedOutletsAreFound plants what the test above must find.
func TestPlantedOutletsAreFound(t *testing.T) {
	p := parseProgram(t)
	for _, c := range []struct{ file, old, planted, want string }{
		{"pipeline/finetune.go", "\tCharges   int", "\tBatch int `json:\"batch\"`\n\tCharges   int", "field Batch int of pipeline.metric is not listed"},
		{"pipeline/finetune.go", "LossSmoothed *float64", "LossSmoothed []float64", "field LossSmoothed []float64 of pipeline.metric is not listed"},
		{"pipeline/finetune.go", "w.metrics.Append(step, line)", "w.metrics.Append(step, w.learner)", "w.metrics.Append(step, w.learner) is not listed"},
		{"pipeline/finetune.go", "w.obs.Note(p.Note)", "w.obs.Note(fmt.Sprint(p))", "w.obs.Note(fmt.Sprint(p)) is not listed"},
		{"pipeline/observer.go", "\tUnit ", "\tExamples []uint32\n\tUnit ", "field Examples []uint32 of pipeline.Progress is not listed"},
		{"coordinator/options.go", "\tWorkers int // ready", "\tSampled int", "field Sampled int of coordinator.Progress is not listed"},
		{"coordinator/options.go", "\tWorkers int // ready", "", "field Workers int of coordinator.Progress is listed and does not exist"},
		{"internal/wire/messages.go", "Heartbeat struct{ Count uint64 }", "Heartbeat struct{ Count uint64; Done uint32 }", "field Done uint32 of internal/wire.Heartbeat is not listed"},
		{"internal/wire/messages.go", "type End struct{}", "type End struct{ Leave }", "field Leave of internal/wire.End is not listed"},
		{"internal/wire/messages.go", "type End struct{}", "type End struct{}\ntype Norms struct{}\nfunc (*Norms) kind() kind { return 77 }", "internal/wire.Norms is not listed"},
		{"internal/wire/chunk.go", "\tAttempt    uint32", "\tAttempt uint32\n\tNorm float64", "field Norm float64 of internal/wire.Chunk is not listed"},
		{"internal/wire/subjects.go", "func (s Subjects) All()", "func (s Subjects) Example(id uint32) string { return \"\" }\nfunc (s Subjects) All()", "Example(id uint32)"},
		{"coordinator/session.go", `"cause", e.Cause)`, `"cause", e.Cause, "examples", e.Examples)`, `"examples", e.Examples) is not listed`},
		{"coordinator/session.go", `"worker", e.Worker, "cause"`, `"worker", e.Share, "cause"`, `"worker", e.Share, "cause", e.Cause) is not listed`},
		{"worker/session.go", "// handle takes", "func (s *session) tell(l anyLogger, n int) { l.Debug(\"a share\", \"examples\", n) }\n\n// handle takes", `l.Debug("a share", "examples", n) is not listed`},
		{"worker/session.go", "\t\"fmt\"\n", "\t\"fmt\"\n\t\"log\"\n", "worker/session.go imports log"},
		{"worker/session.go", "// handle takes", "func (s *session) tell(n int) { println(n) }\n\n// handle takes", "println(n) is not listed"},
		{"cmd/dploda/progress.go", `"progress", p, p.Done, p.Total}`, `"progress", p, p.Total, p.Done}`, "p.Total, p.Done}) is not listed"},
	} {
		source, ok := p.sources[c.file]
		if !ok || !strings.Contains(source, c.old) {
			t.Errorf("%s does not hold %q: plant it elsewhere", c.file, c.old)
			continue
		}
		problems := p.with(t, c.file, strings.Replace(source, c.old, c.planted, 1)).check()
		if !slices.ContainsFunc(problems, func(s string) bool { return strings.Contains(s, c.want) }) {
			t.Errorf("%s with %q: found %q, want %q", c.file, c.planted, problems, c.want)
		}
	}
}

// program is the parsed source, by paths from the root of the repository.
type program struct {
	set     *token.FileSet
	sources map[string]string
	files   map[string]*ast.File
}

// parseProgram reads every Go file that is no test.
func parseProgram(t *testing.T) *program {
	t.Helper()
	root := filepath.Join("..", "..")
	p := &program{token.NewFileSet(), map[string]string{}, map[string]*ast.File{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "gen") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return p.add(filepath.ToSlash(rel), string(content))
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.files) < 150 {
		t.Fatalf("only %d Go files seen: the walk has lost its way", len(p.files))
	}
	return p
}

func (p *program) add(path, source string) error {
	f, err := parser.ParseFile(p.set, path, source, parser.SkipObjectResolution)
	p.sources[path], p.files[path] = source, f
	return err
}

// with is the program with another file in a place.
func (p *program) with(t *testing.T, path, source string) *program {
	t.Helper()
	changed := &program{p.set, maps.Clone(p.sources), maps.Clone(p.files)}
	if err := changed.add(path, source); err != nil {
		t.Fatal(err)
	}
	return changed
}

// check returns what goes out and is not listed, and what is listed in vain.
func (p *program) check() (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	structs, calls := p.structs(), p.calls(report)
	for _, name := range slices.Sorted(maps.Keys(structs)) {
		if s := structs[name]; s.message && fields[name] == nil {
			report("message %s is not listed", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		s, ok := structs[name]
		if !ok {
			report("%s is listed and does not exist", name)
		}
		compare(s.fields, fields[name], func(field, problem string) { report("field %s of %s %s", field, name, problem) })
	}
	compare(calls, allowedCalls, func(call, problem string) { report("%s %s", call, problem) })
	return problems
}

// compare reports what is in one of found and listed alone.
func compare(found map[string]bool, listed map[string]string, report func(what, problem string)) {
	for _, what := range slices.Sorted(maps.Keys(found)) {
		if listed[what] == "" {
			report(what, "is not listed: if it may be seen outside, list it with the reason")
		}
	}
	for _, what := range slices.Sorted(maps.Keys(listed)) {
		if !found[what] {
			report(what, "is listed and does not exist")
		}
	}
}

type structure struct {
	fields  map[string]bool // "Name Type"; of a type that names subjects, its methods
	message bool            // of the wire
}

// structs are the struct types by "package.Type".
func (p *program) structs() map[string]structure {
	found := map[string]structure{}
	p.declarations(func(pkg string, d ast.Decl) {
		general, ok := d.(*ast.GenDecl)
		if !ok {
			return
		}
		for _, spec := range general.Specs {
			named, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if s, ok := named.Type.(*ast.StructType); ok {
				found[pkg+"."+named.Name.Name] = structure{fields: p.fields(s)}
			}
		}
	})
	p.declarations(func(pkg string, d ast.Decl) {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv == nil || pkg != "internal/wire" {
			return
		}
		name := pkg + "." + strings.TrimPrefix(p.text(f.Recv.List[0].Type), "*")
		s, ok := found[name]
		switch {
		case !ok:
		case f.Name.Name == "kind":
			s.message = true
			found[name] = s
		case name == subjects && f.Name.IsExported():
			s.fields[f.Name.Name+strings.TrimPrefix(p.text(f.Type), "func")] = true
		}
	})
	return found
}

func (p *program) fields(s *ast.StructType) map[string]bool {
	found := map[string]bool{}
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 {
			found[p.text(f.Type)] = true
		}
		for _, name := range f.Names {
			found[name.Name+" "+p.text(f.Type)] = true
		}
	}
	return found
}

// The methods that log, whatever they are called on, and those that show
// something or write a metric, in the packages that have observers.
var (
	logs = []string{"Debug", "Info", "Warn", "Error", "Log", "LogAttrs", "With", "WithGroup", "DebugContext", "InfoContext", "WarnContext", "ErrorContext"}
	show = []string{"Stage", "Note", "Owner", "Progress", "Append", "write"}
)

// innocent are receivers with functions of these names: packages of mathematics,
// and package testing's in what tests share.
var innocent = []string{"math", "fmath", "kernel", "floatbits", "t"}

// calls are the calls that log or show something, as "package: call".
func (p *program) calls(report func(string, ...any)) map[string]bool {
	found := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(p.files)) {
		f, pkg := p.files[path], filepath.ToSlash(filepath.Dir(path))
		for _, i := range f.Imports {
			if i.Path.Value == `"log"` {
				report("%s imports log, which writes past the loggers that are looked at", path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if ok && len(call.Args) > 0 && p.tells(pkg, call.Fun) {
				found[pkg+": "+strings.Join(strings.Fields(p.text(call)), " ")] = true
			}
			return true
		})
	}
	return found
}

func (p *program) tells(pkg string, function ast.Expr) bool {
	switch f := function.(type) {
	case *ast.Ident:
		return f.Name == "print" || f.Name == "println"
	case *ast.SelectorExpr:
		if slices.Contains(innocent, p.text(f.X)) {
			return false
		}
		observing := pkg == "pipeline" || pkg == "cmd/dploda"
		return slices.Contains(logs, f.Sel.Name) || observing && slices.Contains(show, f.Sel.Name)
	}
	return false
}

// declarations calls f for each declaration of each file.
func (p *program) declarations(f func(pkg string, d ast.Decl)) {
	for _, path := range slices.Sorted(maps.Keys(p.files)) {
		for _, d := range p.files[path].Decls {
			f(filepath.ToSlash(filepath.Dir(path)), d)
		}
	}
}

// text is a node as source.
func (p *program) text(n ast.Node) string {
	var b strings.Builder
	if err := printer.Fprint(&b, p.set, n); err != nil {
		return err.Error()
	}
	return b.String()
}
