package wire

import (
	"strconv"
	"strings"
)

// Subjects names the subjects of one run. A worker may publish only on those
// that carry its name as publisher, and hears only what is meant for it:
//
//	dp.<run>.up.<worker>.<session>                        worker → coordinator
//	dp.<run>.hb.<worker>.<session>                        heartbeats
//	dp.<run>.shard.<worker>.<generation>.<attempt>        finished segment → coordinator
//	dp.<run>.ring.<from>.<to>.<generation>.<attempt>      chunks to the next rank
//	dp.<run>.down.<worker>.<session>                      coordinator → worker
//	dp.<run>.all                                          coordinator → all workers
type Subjects struct{ Run string }

func (s Subjects) join(tokens ...string) string {
	return "dp." + s.Run + "." + strings.Join(tokens, ".")
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// Up carries a worker's control messages.
func (s Subjects) Up(worker, session string) string { return s.join("up", worker, session) }

// Beat carries a worker's heartbeats.
func (s Subjects) Beat(worker, session string) string { return s.join("hb", worker, session) }

// Shard carries a finished segment to the coordinator.
func (s Subjects) Shard(worker string, generation uint64, attempt uint32) string {
	return s.join("shard", worker, decimal(generation), decimal(uint64(attempt)))
}

// Ring carries chunks from one rank to the next.
func (s Subjects) Ring(from, to string, generation uint64, attempt uint32) string {
	return s.join("ring", from, to, decimal(generation), decimal(uint64(attempt)))
}

// Down carries what is meant for one session of one worker.
func (s Subjects) Down(worker, session string) string { return s.join("down", worker, session) }

// All carries what is meant for every worker.
func (s Subjects) All() string { return s.join("all") }

// AllUp, AllBeats and AllShards are what a coordinator subscribes to.
func (s Subjects) AllUp() string { return s.join("up", "*", "*") }

// AllBeats matches every worker's heartbeats.
func (s Subjects) AllBeats() string { return s.join("hb", "*", "*") }

// AllShards matches every worker's finished segments.
func (s Subjects) AllShards() string { return s.join("shard", "*", "*", "*") }

// RingTo is what a worker subscribes to for chunks of any generation.
func (s Subjects) RingTo(worker string) string { return s.join("ring", "*", worker, "*", "*") }

// Publishes lists the patterns that a worker may publish on.
func (s Subjects) Publishes(worker string) []string {
	return []string{
		s.join("up", worker, "*"),
		s.join("hb", worker, "*"),
		s.join("shard", worker, "*", "*"),
		s.join("ring", worker, "*", "*", "*"),
	}
}

// Subscribes lists the patterns that a worker may subscribe to.
func (s Subjects) Subscribes(worker string) []string {
	return []string{s.join("down", worker, "*"), s.All(), s.RingTo(worker)}
}

// Sender returns the worker and the session (or, of a shard, the generation) of
// a subject that a coordinator received, and false for any other subject.
func (s Subjects) Sender(subject string) (worker, session string, ok bool) {
	rest, ok := strings.CutPrefix(subject, "dp."+s.Run+".")
	if !ok {
		return "", "", false
	}
	tokens := strings.Split(rest, ".")
	if len(tokens) < 3 || !ValidName(tokens[1]) || !ValidName(tokens[2]) {
		return "", "", false
	}
	return tokens[1], tokens[2], true
}
