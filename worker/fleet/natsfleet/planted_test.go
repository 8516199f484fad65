package natsfleet_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/dp/plan"
	"github.com/dploda/dploda/internal/tags"
	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

// tap records every byte of a worker's connection, both ways.
type tap struct {
	url   string
	bytes lockedBuffer
}

func newTap(t *testing.T, server string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{url: "nats://" + listener.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			worker, err := listener.Accept()
			if err != nil {
				return
			}
			bus, err := net.Dial("tcp", strings.TrimPrefix(server, "nats://"))
			if err != nil {
				worker.Close()
				return
			}
			for _, way := range [][2]net.Conn{{worker, bus}, {bus, worker}} {
				running.Go(func() {
					_, _ = io.Copy(way[0], io.TeeReader(way[1], &p.bytes)) // ends with the connection
					way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() { listener.Close(); running.Wait() })
	return p
}

// planted computes contributions that can be recognised, and keeps what must
// be found nowhere.
type planted struct {
	mu            sync.Mutex
	shares        map[string][][]uint32 // of each worker, by share
	sums          map[[32]byte][]int32  // of each draw key: the whole sample's
	contributions map[[32]byte][]int32  // of one example each: the canaries
}

type plantedTask struct {
	*planted
	worker string
}

func (p plantedTask) SetParameters([]byte) error { return nil }

func (p plantedTask) Accumulate(_ context.Context, _ uint64, key [32]byte, ids []uint32, sum []int32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shares[p.worker] = append(p.shares[p.worker], slices.Clone(ids))
	whole := p.sums[key]
	if whole == nil {
		whole = make([]int32, len(sum)-1)
		p.sums[key] = whole
	}
	for _, id := range ids {
		seed := sha256.Sum256(fmt.Append(key[:], id))
		canary := make([]int32, len(whole))
		for i := range canary {
			canary[i] = int32(binary.LittleEndian.Uint16(seed[i%31:])) - int32(i)
			whole[i] += canary[i]
			sum[i] += canary[i]
		}
		p.contributions[seed] = canary
		sum[len(whole)]++
	}
	return nil
}

// stillLearner learns nothing.
type stillLearner struct{ steps uint64 }

func (l *stillLearner) Apply(uint64, []int32) error { l.steps++; return nil }
func (l *stillLearner) Parameters() []byte          { return binary.BigEndian.AppendUint64(nil, l.steps) }
func (l *stillLearner) MarshalState() ([]byte, error) {
	return l.Parameters(), nil
}
func (l *stillLearner) UnmarshalState(b []byte) error {
	l.steps = binary.BigEndian.Uint64(b)
	return nil
}

// needle is a secret in one encoding.
type needle struct {
	what  string
	bytes []byte
}

// needleValues is how many values in a row make a needle: in any encoding too
// many bytes for a chance hit, eleven at least.
const needleValues = 6

// runOf are the encodings of a few values in a row.
func runOf[T int32 | uint32](what string, values []T) []needle {
	var little, big []byte
	for _, v := range values[:min(needleValues, len(values))] {
		little = binary.LittleEndian.AppendUint32(little, uint32(v))
		big = binary.BigEndian.AppendUint32(big, uint32(v))
	}
	text := fmt.Sprint(values[:min(needleValues, len(values))])
	return []needle{{what, little}, {what, big}, {what + " in text", []byte(text[1 : len(text)-1])}}
}

// keyNeedles are the encodings of a key.
func keyNeedles(what string, key []byte) []needle {
	return []needle{{what, key[:8]}, {what + " in text", fmt.Appendf(nil, "%x", key[:8])}, {what + " in text", []byte(strings.Trim(fmt.Sprint(key[:8]), "[]"))}}
}

// TestPlantedBytes takes a run through real coordinator, ledger, bus and workers
// and looks for what must not leave its place: the run's secret, the sampling
// keys, exact sums, single contributions and sampled ids, in the files of the
// state folder, the logs of all sides, the ledger, the bus's subjects and, as
// far as the workers' traffic carries none of them by design, in every byte of
// it.
//
// (Tried with the run's secret as the workers' draw key, with the ids in the
// coordinator's log, and with the held sum written to a file of the state folder.)
func TestPlantedBytes(t *testing.T) {
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := newSite(t, func(o *natsfleet.Options) { o.Logger = logger })
	p := &planted{shares: map[string][][]uint32{}, sums: map[[32]byte][]int32{}, contributions: map[[32]byte][]int32{}}
	taps := map[string]*tap{}
	for _, name := range []string{"a", "b"} {
		c := s.credentials(name)
		taps[name] = newTap(t, c.URL)
		c.URL = taps[name].url
		o := s.options(worker.Dial(c))
		o.Logger = logger
		o.NewTasks = func([]byte) (map[string]worker.Task, error) {
			return map[string]worker.Task{"first": plantedTask{p, name}}, nil
		}
		s.run(o)
	}
	for len(s.fleet.Workers()) < 2 { // their first release loads them
		if _, ok := s.event().(fleet.Joined); !ok {
			t.Fatal("a worker did not join")
		}
	}
	given := givenOut{s.fleet, map[string]map[uint32]bool{}}
	state, keys := runPlanted(t, given, logger)

	var everywhere []needle // what no file, log or byte of traffic may hold
	for what, key := range keys {
		everywhere = append(everywhere, keyNeedles(what, key)...)
	}
	resting := slices.Clone(everywhere) // what no file or log may hold
	for _, sum := range p.sums {
		resting = append(resting, runOf("an exact sum", sum)...)
	}
	for _, c := range p.contributions {
		resting = append(resting, runOf("a single contribution", c)...)
	}
	ids := map[string][]needle{}
	for name, shares := range p.shares {
		for _, share := range shares {
			if len(share) >= needleValues { // fewer may be found by chance
				ids[name] = append(ids[name], runOf("sampled ids of "+name, share)...)
			}
		}
		resting = append(resting, ids[name]...)
	}
	if len(keys) != 1+plantedSteps || len(p.sums) != plantedSteps || len(p.contributions) < 10*plantedSteps || len(ids) != 2 {
		t.Fatalf("%d keys, %d sums, %d contributions, ids of %d workers: the test sees nothing", len(keys), len(p.sums), len(p.contributions), len(ids))
	}
	search := func(place string, content []byte, needles []needle) {
		for _, n := range needles {
			if bytes.Contains(content, n.bytes) {
				t.Errorf("%s holds %s", place, n.what)
			}
		}
	}
	search("a log", []byte(log.String()), resting)
	err := filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		search("the state folder's "+d.Name(), content, resting)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, tap := range taps {
		traffic := []byte(tap.bytes.String())
		search("the traffic of "+name, traffic, everywhere)
		search("the traffic of "+name, traffic, p.foreign(name, given.ids[name]))
		if found := slices.ContainsFunc(ids[name], func(n needle) bool { return bytes.Contains(traffic, n.bytes) }); !found {
			t.Errorf("the traffic of %s is not what was searched: its own ids are not in it", name)
		}
		searchSubjects(t, traffic, p)
	}
}

// givenOut is a fleet that notes which ids it gives to whom, also in generations
// that are aborted: on a loaded machine a worker may be thought dead, and its
// share given to others.
type givenOut struct {
	fleet.Fleet
	ids map[string]map[uint32]bool
}

func (g givenOut) Start(ctx context.Context, gen uint64, a fleet.Assignment, shares map[string][]uint32) error {
	for name, share := range shares {
		if g.ids[name] == nil {
			g.ids[name] = map[uint32]bool{}
		}
		for _, id := range share {
			g.ids[name][id] = true
		}
	}
	return g.Fleet.Start(ctx, gen, a, shares)
}

// foreign are the ids that other workers got and this one did not.
func (p *planted) foreign(name string, own map[uint32]bool) (needles []needle) {
	for other, shares := range p.shares {
		for _, share := range shares {
			if other != name && len(share) >= needleValues && !slices.ContainsFunc(share[:needleValues], func(id uint32) bool { return own[id] }) {
				needles = append(needles, runOf("sampled ids of "+other, share)...)
			}
		}
	}
	return needles
}

const plantedSteps = 2

// runPlanted runs a phase and returns the state folder and the keys that were
// used, read while they lay there.
func runPlanted(t *testing.T, f fleet.Fleet, logger *slog.Logger) (state string, keys map[string][]byte) {
	t.Helper()
	state = t.TempDir()
	m := plan.Mechanism{Phase: "first", QThreshold: 1 << 61, Dim: 3000, Delta: 1000, SigmaInt: 1100, ClipNorm: 1, Steps: plantedSteps, Reserve: 1, Divisor: 1000. / 8}
	id := ledger.RunID{1} // the fleet's
	c, err := coordinator.Open(t.Context(), coordinator.Options{
		StateDir: state, Fleet: f, Arithmetic: kind, Logger: logger, MinWorkers: 2,
		Run: coordinator.RunIdentity{ID: id, Public: true, Unit: ledger.UnitImage, Tags: func([]byte) ([]tags.Tag, error) { return nil, nil }, Budget: ledger.Budget{EpsilonMicro: 10e6, DeltaNumerator: 1, DeltaExponent: 5}, Phases: []plan.Mechanism{m}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	secret, err := os.ReadFile(filepath.Join(state, id.String()+".key"))
	if err != nil || len(secret) != 32 {
		t.Fatalf("the run's key has %d bytes: %v", len(secret), err)
	}
	if err := c.Run(t.Context(), []coordinator.Phase{{Mechanism: m, Learner: &stillLearner{}, Examples: 1000}}, nil); err != nil {
		t.Fatal(err)
	}
	keys = map[string][]byte{"the run's secret": secret}
	for _, raw := range c.Events() {
		e, err := ledger.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := e.(ledger.Plan); ok {
			keys[fmt.Sprintf("the sampling key of step %d", p.Step)] = samplingKey(t, secret, p)
		}
	}
	return state, keys
}

// samplingKey is docs/privacy.md's: HKDF-SHA256 of the secret for the Plan.
func samplingKey(t *testing.T, secret []byte, p ledger.Plan) []byte {
	t.Helper()
	info := "dploda plan keys 1\n"
	for _, text := range []string{"poisson sample", p.Phase} {
		info += string(binary.BigEndian.AppendUint64(nil, uint64(len(text)))) + text
	}
	info += string(p.Run[:]) + string(binary.BigEndian.AppendUint64(nil, p.Step)) + string(p.Nonce[:])
	key, err := hkdf.Key(sha256.New, secret, nil, info, 32)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// searchSubjects looks at the lines of NATS' protocol that name subjects: no
// token of them is a sampled id or the size of a share or of a sample.
func searchSubjects(t *testing.T, traffic []byte, p *planted) {
	t.Helper()
	private := map[string]string{}
	for _, shares := range p.shares {
		for _, share := range shares {
			private[fmt.Sprint(len(share))] = "the size of a share"
			for _, id := range share {
				private[fmt.Sprint(id)] = "a sampled id"
			}
		}
	}
	seen := 0
	for line := range bytes.Lines(traffic) {
		fields := strings.Fields(string(line))
		if len(fields) < 3 || !slices.Contains([]string{"PUB", "MSG", "HPUB", "HMSG"}, fields[0]) || !strings.HasPrefix(fields[1], "dp.") {
			continue
		}
		seen++
		for _, token := range strings.Split(fields[1], ".") {
			if what := private[token]; what != "" && len(token) > 1 { // attempts are single digits
				t.Errorf("subject %s holds %s", fields[1], what)
			}
		}
	}
	if seen == 0 {
		t.Error("no subject was seen in the traffic")
	}
}
