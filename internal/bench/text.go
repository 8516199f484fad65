package bench

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// table writes aligned columns.
type table struct{ w *tabwriter.Writer }

func newTable(b *strings.Builder, columns ...any) table {
	t := table{tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)}
	t.row(columns...)
	return t
}

func (t table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, c)
	}
	fmt.Fprintln(t.w)
}

func (t table) flush() { t.w.Flush() }

// Text is the document for people.
func (d *StepDocument) Text() string {
	var b strings.Builder
	b.WriteString(d.Header.text())
	t := newTable(&b, "work/net", "threads", "images/s", "GFLOP/image", "effective", "executed", "peak GFLOP/s", "share",
		"scaling", "by CPU", "busy", "allocations", "outside kernels", "plan MB")
	for _, r := range d.Rows {
		scaling, byCPU, outside := "", "", ""
		if r.Threads > 1 {
			scaling, byCPU = fmt.Sprintf("%.2fx", r.Scaling), fmt.Sprintf("%.2fx", r.ScalingCPU)
		} else {
			outside = fmt.Sprintf("%.1f %%", 100*r.Outside)
		}
		t.row(r.Work+"/"+r.Net, r.Threads, fmt.Sprintf("%.2f", r.ImagesPerSecond), fmt.Sprintf("%.3f", r.GFLOPPerImage),
			fmt.Sprintf("%.1f", r.EffectiveGFLOPS), fmt.Sprintf("%.1f", r.ExecutedGFLOPS), fmt.Sprintf("%.1f", r.PeakGFLOPS),
			fmt.Sprintf("%.3f", r.Share), scaling, byCPU, fmt.Sprintf("%.2f", r.Busy), fmt.Sprintf("%.0f", r.AllocsPerStep), outside,
			megabytes(r.PlanBytes))
	}
	t.flush()
	for _, r := range d.Rows {
		if r.Breakdown == nil {
			continue
		}
		fmt.Fprintf(&b, "\n%s/%s, one thread:\n", r.Work, r.Net)
		t := newTable(&b, "share", "op", "direction", "algorithm", "GFLOP/s")
		for _, op := range r.Breakdown {
			rate := ""
			if op.GFLOPS > 0 {
				rate = fmt.Sprintf("%.1f", op.GFLOPS)
			}
			t.row(fmt.Sprintf("%5.1f %%", 100*op.Share), op.Op, op.Dir, op.Algorithm, rate)
		}
		t.row(fmt.Sprintf("%5.1f %%", 100*r.Outside), "outside kernels: packing weights, preparing examples, moving them into lanes, the rest", "", "", "")
		t.flush()
	}
	if len(d.Memory) > 0 {
		b.WriteString("\n")
		t := newTable(&b, "memory of a step", "threads", "images", "plan MB", "taken MB", "over plan", "program MB")
		for _, r := range d.Memory {
			t.row(r.Work+"/"+r.Net, r.Threads, r.Images, megabytes(r.PlanBytes), megabytes(r.HighWater-r.Program),
				fmt.Sprintf("%.3f", r.OverPlan), megabytes(r.Program))
		}
		t.flush()
	}
	return b.String()
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f", float64(n)/1e6) }
