package ledger

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/dploda/dploda/dp/plan"
)

func mechanism(phase string, steps, reserve int) plan.Mechanism {
	return plan.Mechanism{Phase: phase, QThreshold: 1 << 56, Dim: 3, Delta: 1000, SigmaInt: 1100,
		ClipNorm: 0.5, Steps: steps, Reserve: reserve, Divisor: 4}
}

func named16(s string) (id [16]byte) {
	h := sha256.Sum256([]byte(s))
	copy(id[:], h[:])
	return id
}

func named32(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// world gives the transcripts names for hashes: plans by the name they were
// proposed under, everything else by hashing its name.
type world struct {
	t     *testing.T
	m     *Machine
	plans map[string]PlanID
	raws  map[string][]byte
}

func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		w := &world{t: t, m: &Machine{}, plans: map[string]PlanID{}, raws: map[string][]byte{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
				if line != "" {
					fmt.Fprintln(&out, w.do(strings.Fields(line)))
				}
			}
			return out.String()
		})
	})
}

func (w *world) do(f []string) string {
	arg := map[string]string{"run": "r", "domain": "images", "phase": "a", "steps": "2", "reserve": "1", "step": "0", "state": "s0", "prev": "",
		"epsilon": "10", "limit": "100", "cost": "1", "declared": "1", "version": "v0", "unit": "1", "delta": "5"}
	for _, kv := range f[1:] {
		k, v, _ := strings.Cut(kv, "=")
		arg[k] = v
	}
	num := func(k string) (n int) {
		if _, err := fmt.Sscan(arg[k], &n); err != nil {
			w.t.Fatalf("%v: %v", f, err)
		}
		return n
	}
	run, prev := RunID(named16(arg["run"])), w.m.Head()
	if arg["prev"] != "" {
		prev = Hash(named32(arg["prev"]))
	}
	budget := Budget{EpsilonMicro: uint64(num("epsilon")) * 1e6, DeltaNumerator: 1, DeltaExponent: uint8(num("delta"))}
	var e Entry
	switch f[0] {
	case "register":
		r := Register{Prev: prev, Domain: arg["domain"], Budget: budget, Order: 25, Limit: uint64(num("limit")), Unit: Unit(num("unit")),
			Adjacency: AddRemove, Public: strings.HasPrefix(arg["domain"], PublicPrefix)}
		if arg["test"] != "" {
			r.Budget.EpsilonMicro = Unlimited
		}
		e = r
	case "revise":
		e = Revise{Prev: prev, Domain: arg["domain"], Budget: budget, Limit: uint64(num("limit")), Reason: "a reason"}
	case "attach":
		e = Attach{Prev: prev, Domain: arg["domain"], Version: named16(arg["version"])}
	case "close":
		e = Close{Run: run, Prev: prev}
	case "admit":
		a := Admit{Run: run, Prev: prev, Domain: arg["domain"], Unit: Unit(num("unit")), Declared: uint64(num("declared")) * 1e6,
			Budget: Budget{EpsilonMicro: 10e6, DeltaNumerator: 1, DeltaExponent: 5}}
		if !strings.HasPrefix(a.Domain, PublicPrefix) {
			a.Version = named16(arg["version"])
		}
		if arg["test"] != "" {
			a.TestMode, a.Budget.EpsilonMicro = true, Unlimited
		}
		for _, p := range strings.Split(arg["phase"], ",") {
			a.Phases = append(a.Phases, mechanism(p, num("steps"), num("reserve")))
			a.Costs = append(a.Costs, uint64(num("cost")))
		}
		e = a
	case "plan":
		e = Plan{Run: run, Prev: prev, Phase: arg["phase"], Step: uint64(num("step")), Nonce: named16(arg["nonce"]),
			Arithmetic: "cpu-f32", State: named32(arg["state"])}
	case "charge":
		if arg["claim"] != "no" {
			w.m.Claim(named16(arg["charge"]))
		}
		e = Charge{Run: run, Prev: prev, Plan: w.plans[arg["plan"]], Charge: named16(arg["charge"])}
	case "commit":
		e = Commit{Run: run, Prev: prev, Plan: w.plans[arg["plan"]], Charge: named16(arg["charge"]),
			Blob: named32("blob of " + arg["charge"]), PrevState: named32(arg["state"]), NewState: named32(arg["new"])}
	case "complete":
		e = Complete{Run: run, Prev: prev, Phase: arg["phase"]}
	case "again":
		return w.apply(f[1], w.raws[f[1]])
	case "restart":
		return w.restart()
	case "view":
		return w.view()
	case "domains":
		return w.domains()
	default:
		w.t.Fatalf("unknown command %v", f)
	}
	raw, err := Encode(e)
	if err != nil {
		return "invalid: " + err.Error()
	}
	name := f[0]
	if arg["as"] != "" {
		name = arg["as"]
	}
	w.raws[name] = raw
	out := w.apply(name, raw)
	if f[0] == "plan" && strings.HasSuffix(out, "accepted") {
		w.plans[arg["as"]] = PlanID(HashOf(raw))
	}
	return out
}

func (w *world) apply(name string, raw []byte) string {
	before := w.m.Snapshot()
	a := w.m.Apply(raw)
	switch {
	case a.Err != nil:
		if string(w.m.Snapshot()) != string(before) {
			w.t.Errorf("refusing %s changed the ledger", name)
		}
		return name + ": " + a.Err.Error()
	case a.Receipt.Live():
		return name + ": accepted, with a receipt"
	}
	return name + ": accepted"
}

// restart replays the ledger from its own snapshot, as recovery does.
func (w *world) restart() string {
	old := w.m
	w.m = &Machine{}
	if err := w.m.Restore(old.Snapshot()); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(old.View(), w.m.View()); diff != "" {
		w.t.Error(diff)
	}
	return "restarted"
}

func (w *world) view() string {
	var out strings.Builder
	v := w.m.View()
	fmt.Fprintf(&out, "%d entries", v.Entries)
	for _, r := range v.Runs {
		for _, p := range r.Phases {
			fmt.Fprintf(&out, "; %s: %d charges, %d commits", p.Mechanism.Phase, p.Charges, p.Commits)
			if p.Complete {
				out.WriteString(", complete")
			}
		}
		if r.Closed {
			out.WriteString("; closed")
		}
		if r.Open != nil {
			fmt.Fprintf(&out, "; open step %d, charged %v", r.Open.Plan.Step, r.Open.Charged)
		}
	}
	return out.String()
}

func (w *world) domains() string {
	var out []string
	for _, d := range w.m.View().Domains {
		line := fmt.Sprintf("%s: epsilon %s, %d spent, %d used of %d, %d revisions, %d versions", d.Register.Domain,
			micro(d.Budget.EpsilonMicro), d.Spent, d.Used, d.Limit, len(d.Revisions), len(d.Versions))
		if d.Charged {
			line += fmt.Sprintf(", charged, %d declared before", d.Declared)
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
