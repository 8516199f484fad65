package pipeline

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"unicode"

	"github.com/dploda/dploda/internal/config"
)

//go:embed draft.yaml.tmpl
var draftTemplate string

var draftYAML = template.Must(template.New("run.yaml").Funcs(template.FuncMap{
	"quote": yamlQuote, "names": yamlNames, "number": func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) },
}).Parse(draftTemplate))

// draftValues are what the template names.
type draftValues struct {
	Name, Kind, Folder           string
	Base                         *Base
	Others                       []*Base // of the same shape
	Public, Files, Recipe, Few   bool
	Classes, Fitting             []string
	Transform                    config.Transform
	Nominal                      int
	Epsilon, Delta               float64
	Prototypes                   *config.Prototypes
	NoPrototypes                 string
	Batch, Steps, Copies, Images int
	Rate, FinalRate, EMA         float64
}

// text is the config. It holds no count of images but the nominal size.
func (d *draft) text() []byte {
	s := d.settings
	var b strings.Builder
	err := draftYAML.Execute(&b, draftValues{
		Name: d.Name, Kind: d.found.Kind, Folder: d.found.Folder, Base: d.base, Others: d.others, Fitting: d.fitting,
		Public: d.Public, Files: d.found.Kind == config.KindFolder, Recipe: d.base.PrototypeChannel(),
		Classes: d.found.Classes, Transform: d.transform, Nominal: d.nominal, Epsilon: d.Epsilon, Delta: d.Delta,
		Prototypes: s.prototypes, NoPrototypes: s.noPrototypes,
		Batch: s.batch, Steps: s.steps, Copies: s.copies, Images: s.images, Rate: s.rate, FinalRate: s.rate / 10, EMA: s.ema,
		Few: d.nominal < fewImages,
	})
	if err != nil {
		panic(err) // the template fits its values
	}
	return []byte(b.String())
}

// fewImages is a nominal size below which no setting makes up for the noise at usual ε.
const fewImages = 3000

// yamlQuote writes any text as a double-quoted scalar: what prints as it is, the rest
// escaped.
func yamlQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// shortList is how long a list may be to stand on its key's line.
const shortList = 80

// yamlNames writes a list below or beside its key, indented for it.
func yamlNames(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = yamlQuote(n)
	}
	if line := " [" + strings.Join(quoted, ", ") + "]"; len(line) <= shortList {
		return line
	}
	return "\n    - " + strings.Join(quoted, "\n    - ")
}

// Owner is what only the owner of the images may read: it goes to the terminal.
func (d *Draft) Owner() string {
	var b strings.Builder
	f := d.Found
	fmt.Fprintf(&b, "%s, for the owner of the images alone (the config holds no count of it):\n", f.Folder)
	fmt.Fprintf(&b, "  kind %s, %s in %s, %s held out\n", f.Kind, count(f.Images, "image"), countOf(len(f.Classes), "class", "classes"), grouped(f.TestImages))
	for i, s := range f.Sizes {
		if i == mostListed {
			fmt.Fprintf(&b, "  and %s more\n", count(len(f.Sizes)-i, "size"))
			break
		}
		fmt.Fprintf(&b, "  %s of %dx%d (height x width)\n", count(s.Images, "image"), s.Height, s.Width)
	}
	for i, u := range f.Unreadable {
		if i == mostListed {
			fmt.Fprintf(&b, "  and %s more\n", count(len(f.Unreadable)-i, "file"))
			break
		}
		fmt.Fprintf(&b, "  %s %s\n", u.File, u.Reason)
	}
	for _, p := range d.Problems {
		fmt.Fprintf(&b, "  %s\n", p)
	}
	return b.String()
}

// mostListed is how many sizes and files are printed.
const mostListed = 5

func countOf(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + more
}

// Next is what to type after the config was written to path.
func (d *Draft) Next(path string) string {
	var b strings.Builder
	row := d.Forecast.Rows[0]
	fmt.Fprintf(&b, "wrote %s: base %s, nominal %s\n", path, d.Spec.Base, d.Forecast.units(d.Spec.Data.NominalSize))
	fmt.Fprintf(&b, "at ε %g: %s%s\n", row.Epsilon, label(row), row.Advice)
	b.WriteString("\nRead it, then:\n\n")
	if !d.Spec.Data.Public {
		fmt.Fprintf(&b, "  dploda domain register %s --epsilon %g --delta %g    # once: the budget of all runs on these images\n", d.Spec.Privacy.Domain, d.Spec.Privacy.Epsilon, d.Spec.Privacy.Delta)
	}
	quoted := shellQuote(path)
	fmt.Fprintf(&b, "  dploda plan %s    # what it costs and gives, before an image is used\n", quoted)
	fmt.Fprintf(&b, "  dploda run %s\n", quoted)
	return b.String()
}

// shellQuote is a path as a shell takes it.
func shellQuote(path string) string {
	plain := func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("/._-", c) }
	if strings.IndexFunc(path, func(c rune) bool { return !plain(c) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
