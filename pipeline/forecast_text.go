package pipeline

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// verdict is what a forecast thinks of an ε.
type verdict string

const (
	verdictGood       verdict = "good"
	verdictWeak       verdict = "weak"
	verdictNoisy      verdict = "noise exceeds signal"
	verdictImpossible verdict = "impossible"
)

// The thresholds of Noise, from runs with known accuracy: docs/planning.md.
const (
	goodStep, mostStep = 0.5, 1.0
	goodRun, mostRun   = 0.03, 0.1
)

// mostPixelNoise is the noise in a pixel of a prototype above which it shows
// little but noise.
const mostPixelNoise = 0.25

// judge compares the noise with the signal, and says in a sentence what to do:
// first what no setting can mend, then what the batch can.
func (f *Forecast) judge(row ForecastRow) (verdict, string) {
	n := row.Noise
	surer := "take a larger finetune.batch and fewer finetune.steps"
	if 2*f.Batch > f.Nominal { // the batch is as large as it can be
		surer = "take fewer finetune.steps or a smaller adapter.rank"
	}
	nearer := fmt.Sprintf("a larger finetune.batch or more finetune.steps come nearer to the best, %.2g", n.Least)
	switch {
	case n.Least > mostRun:
		return verdictNoisy, fmt.Sprintf("%s are too few for ε %g, whatever batch and steps are: the noise exceeds what they can teach; it takes about %s, a larger ε, or a smaller adapter.rank",
			f.units(f.Nominal), row.Epsilon, grouped(f.needed(n)))
	case n.Step > mostStep:
		return verdictNoisy, fmt.Sprintf("the noise of a step exceeds the largest signal that a batch of %d can have; %s", f.Batch, surer)
	case n.Run > mostRun:
		return verdictNoisy, "the noise over the run exceeds what the images can teach; " + nearer
	case n.Least > goodRun:
		return verdictWeak, fmt.Sprintf("expect coarse images: for good ones ε %g takes about %s, whatever batch and steps are", row.Epsilon, f.units(f.needed(n)))
	case n.Step > goodStep:
		return verdictWeak, "the noise of a step is more than half of the largest signal; " + surer
	case n.Run > goodRun:
		return verdictWeak, "the same ε can teach more: " + nearer
	}
	return verdictGood, "the noise is small beside the signal"
}

// needed is how many units would make Noise.Least good, in two digits.
func (f *Forecast) needed(n Noise) int { return roundUp(float64(f.Nominal) * n.Least / goodRun) }

// roundUp keeps two digits.
func roundUp(x float64) int {
	unit := math.Pow(10, math.Floor(math.Log10(x))-1)
	return int(math.Ceil(x/unit) * unit)
}

// impossible is the row of an ε that no noise reaches.
func (f *Forecast) impossible(epsilon float64, err error) ForecastRow {
	row := ForecastRow{Epsilon: epsilon, Verdict: verdictImpossible, Problem: err.Error(), Advice: "choose a larger ε, or fewer finetune.steps"}
	if p := f.Prototypes; p != nil && p.Epsilon > epsilon {
		row.Advice = fmt.Sprintf("the prototypes alone cost ε %.3g; raise prototypes.noise_multiplier or leave the section out", p.Epsilon)
	}
	return row
}

// note says what holds for all rows.
func (f *Forecast) note(r *resolved, o ForecastOptions) {
	say := func(format string, args ...any) { f.Notes = append(f.Notes, fmt.Sprintf(format, args...)) }
	if p := f.Prototypes; p != nil {
		if p.ClusterImages < 2*p.LeastImages {
			say("a cluster of %.0f %s hardly stands clear of its count's noise (%.0f): fewer prototypes.clusters give better means", p.ClusterImages, f.counted(), p.LeastImages)
		}
		if p.PixelNoise > mostPixelNoise {
			say("the prototypes are mostly noise: %.2f in a pixel of range 1; fewer prototypes.clusters or a smaller prototypes.noise_multiplier (it costs ε) help", p.PixelNoise)
		}
	}
	if n := r.forgoes(); n != "" {
		say("%s", n)
	}
	if perClass := f.Nominal / r.classes; perClass < fewPerClass {
		say("%d classes of about %d %s each: few for images of each class to look right; join classes if you can", r.classes, perClass, f.counted())
	}
	if f.Rates != nil && f.Rates.Busy < 0.85 {
		say("other programs took %.0f %% of the processors while this machine was measured; without them the run would take about %s here", 100*(1-f.Rates.Busy), hoursText(f.Alone.Total))
	}
	if f.cluster != nil {
		c := o.Cluster
		text := fmt.Sprintf("the time on %s is an estimate: each thread is taken to be as fast as one of the %d measured here beside one another, without other programs; a thread takes groups of %d",
			c, f.Rates.FinetuneThreads, r.spec.Workers.MicroBatch)
		if c.Machines > 1 {
			text += fmt.Sprintf("; the network is taken to be 1 Gbit/s, for %s a step and machine; one machine samples and evaluates; workers on several machines are not in this version", bytesText(8*int64(f.Trained)))
		}
		say("%s", text)
	}
}

// fewPerClass is how many images a class should have at least.
const fewPerClass = 100

// units is a number of what is protected.
func (f *Forecast) units(n int) string { return grouped(n) + " " + f.counted() }

func (f *Forecast) counted() string {
	if f.Unit == unitGroup {
		return "units"
	}
	return "images"
}

// grouped writes 60000 as 60,000.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytesText(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}

// hoursText is a duration in the unit that people would use.
func hoursText(hours float64) string {
	d := time.Duration(hours * float64(time.Hour))
	switch {
	case hours > 1e5:
		return "over 10 years"
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case hours < 100:
		return fmt.Sprintf("%.1f h", hours)
	}
	return fmt.Sprintf("%.0f days", hours/24)
}

// Text is the forecast for people.
func (f *Forecast) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: base %s, %s trained parameters; nominal %s, batch %d of %s; δ %g, %s\n",
		f.Name, f.Base, grouped(f.Trained), f.units(f.Nominal), f.Batch, copiesText(f.Copies), f.Delta, f.Adjacency)
	if p := f.Prototypes; p != nil {
		fmt.Fprintf(&b, "prototypes: ε %.3g by themselves, out of each ε below; noise %.2g in a pixel of range 1, clusters of about %.0f\n", p.Epsilon, p.PixelNoise, p.ClusterImages)
	}
	b.WriteString("\n")
	f.table(&b)
	f.timing(&b)
	b.WriteString("\n")
	domain := ""
	for _, r := range f.Rows {
		fmt.Fprintf(&b, "ε %g: %s%s\n", r.Epsilon, label(r), r.Advice)
		if r.Domain != domain {
			domain = r.Domain
			fmt.Fprintf(&b, "  %s\n", domain)
		}
	}
	for _, n := range f.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

func copiesText(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return fmt.Sprintf("%d copies", n)
}

// label marks what a reader must not miss.
func label(r ForecastRow) string {
	switch {
	case r.Problem != "":
		return "IMPOSSIBLE: " + r.Problem + "; "
	case r.Verdict == verdictNoisy:
		return "WARNING: "
	}
	return string(r.Verdict) + ": "
}

// table has one row for each ε.
func (f *Forecast) table(b *strings.Builder) {
	head := []string{"ε", "noise\nσ", "steps", "q", "noise/\nsignal", "with\nmomentum", "over\nthe run", "at\nbest"}
	if f.HeldSigma > 0 {
		head = append(head, fmt.Sprintf("steps at\nσ %.3g", f.HeldSigma))
	}
	if f.PrototypeChannel {
		other := "σ without\nprototypes"
		if f.Prototypes == nil {
			other = "σ with\nprototypes"
		}
		head = append(head, other)
	}
	if f.hours != nil {
		head = append(head, "time\nhere")
	}
	if f.cluster != nil {
		head = append(head, "time on\n"+f.Cluster)
	}
	rows := [][]string{make([]string, len(head)+1), make([]string, len(head)+1)}
	for i, name := range append(head, "memory") {
		above, below, two := strings.Cut(name, "\n")
		if !two {
			above, below = "", name
		}
		rows[0][i], rows[1][i] = above, below
	}
	for _, r := range f.Rows {
		rows = append(rows, f.cells(r, len(head)+1))
	}
	writeTable(b, rows)
}

func (f *Forecast) cells(r ForecastRow, n int) []string {
	cells := []string{fmt.Sprintf("%g", r.Epsilon)}
	if r.Problem != "" {
		for len(cells) < n {
			cells = append(cells, "-")
		}
		return cells
	}
	cells = append(cells, fmt.Sprintf("%.4g", r.Sigma), grouped(r.Steps), fmt.Sprintf("%.3g", r.SampleRate),
		fmt.Sprintf("%.2f", r.Noise.Step), fmt.Sprintf("%.3f", r.Noise.Momentum), fmt.Sprintf("%.4f", r.Noise.Run), fmt.Sprintf("%.4f", r.Noise.Least))
	if f.HeldSigma > 0 {
		more := ""
		if r.StepsAtHeld >= mostSteps {
			more = "over "
		}
		cells = append(cells, more+grouped(r.StepsAtHeld))
	}
	if f.PrototypeChannel {
		cell := "-"
		if r.OtherSigma > 0 {
			cell = fmt.Sprintf("%.4g", r.OtherSigma)
		}
		cells = append(cells, cell)
	}
	if f.hours != nil {
		cells = append(cells, hoursText(f.hours.Total))
	}
	if f.cluster != nil {
		cells = append(cells, hoursText(f.cluster.Total))
	}
	return append(cells, bytesText(r.MemoryBytes))
}

// writeTable aligns cells to the right, two spaces apart.
func writeTable(b *strings.Builder, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			b.WriteString(strings.Repeat(" ", 2+width[i]-len([]rune(cell))) + cell)
		}
		b.WriteString("\n")
	}
}

// timing says what was measured and where the time goes.
func (f *Forecast) timing(b *strings.Builder) {
	r := f.Rates
	if r == nil {
		b.WriteString("\nnot measured: no hours\n")
		return
	}
	fmt.Fprintf(b, "\nmeasured in %.0f s on random images (%s): fine-tuning %s a second on %d threads, sampling %s on %d",
		r.Seconds, r.Device, f.units(int(r.Finetune)), r.FinetuneThreads, grouped(int(r.Sample)), r.Cores)
	for _, network := range slices.Sorted(maps.Keys(r.Classifiers)) {
		fmt.Fprintf(b, ", classifier %s %s", network, grouped(int(r.Classifiers[network])))
	}
	b.WriteString("\n")
	f.parts(b, "here", f.hours)
	if f.cluster != nil {
		f.parts(b, "on "+f.Cluster, f.cluster)
	}
}

func (f *Forecast) parts(b *strings.Builder, where string, h *Hours) {
	fmt.Fprintf(b, "%s: ", where)
	if f.Prototypes != nil {
		fmt.Fprintf(b, "prototypes %s, ", hoursText(h.Prototypes))
	}
	fmt.Fprintf(b, "fine-tuning %s, sampling %s, evaluation %s\n", hoursText(h.Finetune), hoursText(h.Sample), hoursText(h.Evaluate))
}
