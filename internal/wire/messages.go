package wire

import (
	"fmt"
	"math"
)

// Hello asks to join. The worker's name and session are the subject's.
type Hello struct {
	Kind string // device and arithmetic, for example "cpu-f32-2"
}

// Job answers a Hello: what the worker must prepare.
type Job struct {
	Run       [16]byte
	BeatEvery uint32 // milliseconds between heartbeats
	Body      []byte // the coordinator's description of the tasks, opaque here
}

// Ready says that the tasks are loaded.
type Ready struct {
	Speed float64 // examples per second, greater than 0
}

// Assign is a worker's share of one generation of a step. It is private: the
// ids are those of sampled examples.
type Assign struct {
	Run        [16]byte
	Term       uint64
	Generation uint64
	Attempt    uint32
	Step       uint64
	Phase      string
	DrawKey    [32]byte
	State      [32]byte // of the parameters that must be loaded
	Dim        uint64   // private coordinates; the vector has one more
	Rank       uint32   // the receiver's place in Ring
	Ring       []string // worker names, ascending
	IDs        []uint32 // ascending
}

// String names the step and nothing private.
func (a *Assign) String() string {
	return fmt.Sprintf("assignment of generation %d, step %d of %s", a.Generation, a.Step, a.Phase)
}

// Abort voids every generation up to Generation.
type Abort struct {
	Term       uint64
	Generation uint64
}

// Part is one part of a release of parameters.
type Part struct {
	Term     uint64
	Sequence uint64 // of the release, ascending within a term
	Phase    string
	Step     uint64
	State    [32]byte
	Digest   [32]byte // SHA-256 of all the parameters
	Total    uint64   // their bytes
	Offset   uint64   // of Data
	Data     []byte   // at most PartSize
}

// Ack returns credit for the parts of a release.
type Ack struct {
	Sequence uint64
	Bytes    uint64 // received without a gap
	Loaded   bool   // the parameters are in use
}

// Heartbeat says that the process is alive.
type Heartbeat struct{ Count uint64 }

// Failed says that a share could not be computed. Reason prints no values.
type Failed struct {
	Generation uint64
	Reason     string
}

// Leave says that the worker goes.
type Leave struct{ Reason string }

// Refuse tells a worker that it is not, or no longer, part of the run.
type Refuse struct {
	Rejoin bool // it may join again under a new session
	Reason string
}

// End tells the workers that the run is over.
type End struct{}

func (*Hello) kind() kind     { return kindHello }
func (*Job) kind() kind       { return kindJob }
func (*Ready) kind() kind     { return kindReady }
func (*Assign) kind() kind    { return kindAssign }
func (*Abort) kind() kind     { return kindAbort }
func (*Part) kind() kind      { return kindPart }
func (*Ack) kind() kind       { return kindAck }
func (*Heartbeat) kind() kind { return kindHeartbeat }
func (*Failed) kind() kind    { return kindFailed }
func (*Leave) kind() kind     { return kindLeave }
func (*Refuse) kind() kind    { return kindRefuse }
func (*End) kind() kind       { return kindEnd }

func (m *Hello) encode(w *writer) { w.name("device kind", m.Kind) }
func (m *Hello) decode(r *reader) { m.Kind = r.name("device kind") }

func (m *Job) encode(w *writer) {
	w.fixed(m.Run[:])
	w.uint32(m.BeatEvery)
	w.bytes("job", m.Body, MaxJob)
}

func (m *Job) decode(r *reader) {
	r.fixed("run", m.Run[:])
	m.BeatEvery = r.uint32("heartbeat period")
	if r.err == nil && (m.BeatEvery == 0 || m.BeatEvery > 60_000) {
		r.fail("heartbeat period", "not 1 to 60000 ms")
	}
	m.Body = r.bytes("job", MaxJob)
}

func (m *Ready) encode(w *writer) { w.uint64(math.Float64bits(m.Speed)) }
func (m *Ready) decode(r *reader) { m.Speed = r.positive("speed") }

func (m *Assign) encode(w *writer) {
	w.fixed(m.Run[:])
	w.uint64(m.Term)
	w.uint64(m.Generation)
	w.uint32(m.Attempt)
	w.uint64(m.Step)
	w.name("phase", m.Phase)
	w.fixed(m.DrawKey[:])
	w.fixed(m.State[:])
	if m.Dim == 0 || m.Dim > MaxDim {
		w.fail("coordinates", "%d, not 1 to %d", m.Dim, MaxDim)
	}
	w.uint64(m.Dim)
	if len(m.Ring) == 0 || len(m.Ring) > MaxRanks || int(m.Rank) >= len(m.Ring) {
		w.fail("ring", "rank %d of %d", m.Rank, len(m.Ring))
	}
	w.uint32(m.Rank)
	w.uint32(uint32(len(m.Ring)))
	for i, name := range m.Ring {
		if i > 0 && name <= m.Ring[i-1] {
			w.fail("ring", "names not ascending")
		}
		w.name("ring", name)
	}
	w.ids("ids", m.IDs)
}

func (m *Assign) decode(r *reader) {
	r.fixed("run", m.Run[:])
	m.Term = r.uint64("term")
	m.Generation = r.uint64("generation")
	m.Attempt = r.uint32("attempt")
	m.Step = r.uint64("step")
	m.Phase = r.name("phase")
	r.fixed("draw key", m.DrawKey[:])
	r.fixed("state", m.State[:])
	m.Dim = r.limited("coordinates", MaxDim)
	if r.err == nil && m.Dim == 0 {
		r.fail("coordinates", "none")
	}
	m.Rank = r.uint32("rank")
	n := r.uint32("ring")
	if n > MaxRanks || m.Rank >= n {
		r.fail("ring", "rank %d of %d", m.Rank, n)
		return
	}
	for i := range int(n) {
		name := r.name("ring")
		if r.err == nil && i > 0 && name <= m.Ring[i-1] {
			r.fail("ring", "names not ascending")
		}
		if r.err != nil {
			return
		}
		m.Ring = append(m.Ring, name)
	}
	m.IDs = r.ids("ids")
}

func (m *Abort) encode(w *writer) { w.uint64(m.Term); w.uint64(m.Generation) }
func (m *Abort) decode(r *reader) {
	m.Term = r.uint64("term")
	m.Generation = r.uint64("generation")
}

func (m *Part) encode(w *writer) {
	w.uint64(m.Term)
	w.uint64(m.Sequence)
	w.name("phase", m.Phase)
	w.uint64(m.Step)
	w.fixed(m.State[:])
	w.fixed(m.Digest[:])
	if m.Total > MaxParameters || m.Offset > m.Total || uint64(len(m.Data)) > m.Total-m.Offset {
		w.fail("parameters", "%d bytes, at most %d", m.Total, uint64(MaxParameters))
	}
	w.uint64(m.Total)
	w.uint64(m.Offset)
	w.bytes("parameters", m.Data, PartSize)
}

func (m *Part) decode(r *reader) {
	m.Term = r.uint64("term")
	m.Sequence = r.uint64("sequence")
	m.Phase = r.name("phase")
	m.Step = r.uint64("step")
	r.fixed("state", m.State[:])
	r.fixed("digest", m.Digest[:])
	m.Total = r.limited("parameters", MaxParameters)
	m.Offset = r.limited("offset", m.Total)
	m.Data = r.bytes("parameters", PartSize)
	if r.err == nil && uint64(len(m.Data)) > m.Total-m.Offset {
		r.fail("parameters", "beyond their end")
	}
}

func (m *Ack) encode(w *writer) {
	w.uint64(m.Sequence)
	w.uint64(m.Bytes)
	w.bool(m.Loaded)
}

func (m *Ack) decode(r *reader) {
	m.Sequence = r.uint64("sequence")
	m.Bytes = r.limited("bytes", MaxParameters)
	m.Loaded = r.bool("loaded")
}

func (m *Heartbeat) encode(w *writer) { w.uint64(m.Count) }
func (m *Heartbeat) decode(r *reader) { m.Count = r.uint64("count") }

func (m *Failed) encode(w *writer) { w.uint64(m.Generation); w.text("reason", m.Reason) }
func (m *Failed) decode(r *reader) {
	m.Generation = r.uint64("generation")
	m.Reason = r.text("reason")
}

func (m *Leave) encode(w *writer) { w.text("reason", m.Reason) }
func (m *Leave) decode(r *reader) { m.Reason = r.text("reason") }

func (m *Refuse) encode(w *writer) {
	w.bool(m.Rejoin)
	w.text("reason", m.Reason)
}

func (m *Refuse) decode(r *reader) {
	m.Rejoin = r.bool("rejoin")
	m.Reason = r.text("reason")
}

func (m *End) encode(*writer) {}
func (m *End) decode(*reader) {}
