package coordinator

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/dploda/dploda/checkpoint"
	"github.com/dploda/dploda/coordinator/core"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/noise"
)

// phaseFiles are one phase's checkpoints and noised sums.
type phaseFiles struct {
	checkpoints, sums *checkpoint.Store
}

func runFolder(stateDir string, run ledger.RunID) string {
	return filepath.Join(stateDir, "runs", run.String())
}

func openPhaseFiles(stateDir string, run ledger.RunID, phase string) (*phaseFiles, error) {
	dir := filepath.Join(runFolder(stateDir, run), phase)
	checkpoints, err := checkpoint.OpenStore(filepath.Join(dir, "checkpoints"))
	if err != nil {
		return nil, err
	}
	sums, err := checkpoint.OpenStore(filepath.Join(dir, "sums"))
	if err != nil {
		return nil, err
	}
	return &phaseFiles{checkpoints, sums}, nil
}

// Sections of a noised sum's file, whose label is its charge's id, and of a
// checkpoint.
const (
	planSection     = "plan"
	chargeSection   = "charge"
	noisedSection   = "noised sum" // int32, little-endian
	positionSection = "position"   // JSON
	learnerSection  = "learner"
)

func (f *phaseFiles) putSum(n noise.NoisedSum) (ledger.Hash, error) {
	planID, charge := n.PlanID(), n.ChargeID()
	values := make([]byte, 0, 4*len(n.Values()))
	for _, v := range n.Values() {
		values = binary.LittleEndian.AppendUint32(values, uint32(v))
	}
	ref, err := f.sums.Put(charge.String(), []checkpoint.Section{{Name: planSection, Data: planID[:]}, {Name: chargeSection, Data: charge[:]}, {Name: noisedSection, Data: values}})
	return ref.Hash, err
}

// sum reads one noised sum and compares it with what the ledger says it is.
func (f *phaseFiles) sum(blob ledger.Hash, planID ledger.PlanID, charge ledger.ChargeID) ([]int32, error) {
	sections, err := f.sums.Get(checkpoint.Ref{Label: charge.String(), Hash: blob})
	if err != nil {
		return nil, err
	}
	p, err1 := checkpoint.Find(sections, planSection)
	c, err2 := checkpoint.Find(sections, chargeSection)
	b, err3 := checkpoint.Find(sections, noisedSection)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if !bytes.Equal(p, planID[:]) || !bytes.Equal(c, charge[:]) || len(b)%4 != 0 {
		return nil, errors.New("a noised sum's file belongs to another charge than its name says")
	}
	values := make([]int32, len(b)/4)
	for i := range values {
		values[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return values, nil
}

// findSum looks for a whole noised sum of a charge whose Commit is not in the
// ledger. A damaged one is as good as none.
func (f *phaseFiles) findSum(planID ledger.PlanID, charge ledger.ChargeID) (blob ledger.Hash, values []int32, found bool) {
	refs, err := f.sums.List()
	if err != nil {
		return ledger.Hash{}, nil, false
	}
	for _, ref := range refs {
		if ref.Label != charge.String() {
			continue
		}
		if values, err := f.sum(ref.Hash, planID, charge); err == nil {
			return ref.Hash, values, true
		}
	}
	return ledger.Hash{}, nil, false
}

// checkSums refuses a ledger that does not know a charge whose noised sum lies
// on this disk: it under-counts.
func (f *phaseFiles) checkSums(known map[string]bool, stateDir string) error {
	refs, err := f.sums.List()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !known[ref.Label] {
			return fmt.Errorf("the ledger in %s does not hold a charge whose noised sum is on disk (%s): it was lost, edited or rolled back, and what was spent is not known", stateDir, f.sums.Path(ref))
		}
	}
	return nil
}

// position says where in the run a checkpoint was made.
type position struct {
	Run     string `json:"run"`
	Phase   string `json:"phase"`
	Commits int    `json:"commits"`
	Charges int    `json:"charges"`
	State   string `json:"state"`
	Entries int    `json:"ledger_entries"`
	Head    string `json:"ledger_head"`
}

func (p position) mark() core.Mark { return core.Mark{Commits: p.Commits, Charges: p.Charges} }

func (f *phaseFiles) putCheckpoint(p position, learner []byte) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = f.checkpoints.Put(fmt.Sprintf("charge-%010d", p.Charges), []checkpoint.Section{{Name: positionSection, Data: b}, {Name: learnerSection, Data: learner}})
	return err
}

func (f *phaseFiles) checkpoint(ref checkpoint.Ref) (position, []byte, error) {
	sections, err := f.checkpoints.Get(ref)
	if err != nil {
		return position{}, nil, err
	}
	b, err1 := checkpoint.Find(sections, positionSection)
	learner, err2 := checkpoint.Find(sections, learnerSection)
	if err := errors.Join(err1, err2); err != nil {
		return position{}, nil, err
	}
	var p position
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return position{}, nil, err
	}
	return p, learner, nil
}

// keptCheckpoints: if the newest is found damaged, the one before it and the
// noised sums committed since then lead to the same state.
const keptCheckpoints = 2

// retain removes the checkpoints but the newest ones, and the noised sums that
// the oldest of these covers.
func (f *phaseFiles) retain(commits []commit, open *ledger.OpenPlan) error {
	refs, err := f.checkpoints.List()
	if err != nil || len(refs) == 0 {
		return err
	}
	refs = refs[max(0, len(refs)-keptCheckpoints):]
	if err := f.checkpoints.Keep(func(r checkpoint.Ref) bool { return slices.Contains(refs, r) }); err != nil {
		return err
	}
	oldest, _, err := f.checkpoint(refs[0])
	if err != nil {
		return nil // damaged: keep every sum
	}
	needed := map[string]bool{}
	for _, c := range commits[min(oldest.Commits, len(commits)):] {
		needed[c.Charge.String()] = true
	}
	if open != nil && open.Charged {
		needed[open.Charge.String()] = true
	}
	return f.sums.Keep(func(r checkpoint.Ref) bool { return needed[r.Label] })
}

func parseHash(s string) (h ledger.Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, errors.New("a checkpoint holds a hash of the wrong length")
	}
	copy(h[:], b)
	return h, nil
}
