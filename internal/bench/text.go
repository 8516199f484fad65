package bench

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Text is the document for people.
func (d *StepDocument) Text() string {
	var b strings.Builder
	b.WriteString(d.Header.text())
	b.WriteString("\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "work/net\tthreads\timages/s\tGFLOP/image\teffective\texecuted\tpeak GFLOP/s\tshare\tscaling\t(by CPU)\tbusy\tallocs\toutside\tplan MB")
	for _, r := range d.Rows {
		fmt.Fprintf(w, "%s/%s\t%d\t%.2f\t%.3f\t%.1f\t%.1f\t%.1f\t%.3f\t", r.Work, r.Net, r.Threads, r.ImagesPerSecond, r.GFLOPPerImage,
			r.EffectiveGFLOPS, r.ExecutedGFLOPS, r.PeakGFLOPS, r.Share)
		if r.Scaling > 0 {
			fmt.Fprintf(w, "%.2fx\t%.2fx\t", r.Scaling, r.ScalingCPU)
		} else {
			fmt.Fprint(w, "\t\t")
		}
		fmt.Fprintf(w, "%.2f\t%.0f\t", r.Busy, r.AllocsPerStep)
		if r.Breakdown != nil {
			fmt.Fprintf(w, "%.1f %%", 100*r.Outside)
		}
		fmt.Fprintf(w, "\t%.0f\n", float64(r.PlanBytes)/1e6)
	}
	w.Flush()
	for _, r := range d.Rows {
		if r.Breakdown == nil {
			continue
		}
		fmt.Fprintf(&b, "\n%s/%s, one thread:\n", r.Work, r.Net)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, t := range r.Breakdown {
			rate := ""
			if t.GFLOPS > 0 {
				rate = fmt.Sprintf("%.1f GFLOP/s", t.GFLOPS)
			}
			fmt.Fprintf(w, "  %5.1f %%\t%s\t%s\t%s\t%s\n", 100*t.Share, t.Op, t.Dir, t.Algorithm, rate)
		}
		fmt.Fprintf(w, "  %5.1f %%\tpreparing, moving lanes and the rest\n", 100*r.Outside)
		w.Flush()
	}
	return b.String()
}
