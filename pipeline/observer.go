package pipeline

import "time"

// Observer is told how a run goes on. Everything it is told may be shown to
// anybody: it is made of released values, public settings and the clock only.
// Its methods are called from one goroutine at a time.
type Observer interface {
	// Stage begins a stage; the one before it has ended.
	Stage(name string)
	// Progress reports the running stage.
	Progress(Progress)
	// Note is one sentence that a person should see.
	Note(text string)
}

// Progress is how far a stage has come.
type Progress struct {
	Stage       string  `json:"stage"`
	Done, Total int     `json:"-"`
	Unit        string  `json:"unit"` // what Done counts: "steps", "images", "epochs"
	Epsilon     float64 `json:"epsilon,omitempty"`
	Budget      float64 `json:"budget,omitempty"`
	// Loss is the released mean loss, smoothed; nil where none was released.
	Loss *float64 `json:"loss,omitempty"`
	// Rate is in images a second. For private training it is the nominal
	// batch over time, smoothed over at least 20 steps: the realised batch
	// size is private.
	Rate float64       `json:"rate,omitempty"`
	Left time.Duration `json:"left,omitempty"`
}

// quiet is the Observer of who does not watch.
type quiet struct{}

func (quiet) Stage(string)      {}
func (quiet) Progress(Progress) {}
func (quiet) Note(string)       {}

// meter estimates a stage's rate and the time left from the moments at which
// its counts were reported.
type meter struct {
	now     func() time.Time
	last    time.Time
	perUnit float64 // smoothed seconds a unit
	done    int
}

// smoothing is the number of units over which a rate is averaged: no shorter,
// since the time of a single private step tells of its realised batch size.
const smoothing = 20

// newMeter begins at done units.
func newMeter(now func() time.Time, done int) *meter {
	return &meter{now: now, last: now(), done: done}
}

// advance records that done units are finished and returns seconds a unit, or
// 0 until smoothing units were seen.
func (m *meter) advance(done int) float64 {
	if step := done - m.done; step >= smoothing {
		t := m.now()
		latest := t.Sub(m.last).Seconds() / float64(step)
		if m.perUnit == 0 {
			m.perUnit = latest
		} else {
			m.perUnit = 0.7*m.perUnit + 0.3*latest
		}
		m.done, m.last = done, t
	}
	return m.perUnit
}
