package natsfleet_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/dploda/dploda/worker"
	"github.com/dploda/dploda/worker/fleet"
	"github.com/dploda/dploda/worker/fleet/natsfleet"
)

// The size of a share is private as well: a step logs the same for one example
// as for many, and for none.
func TestLogsDoNotTellTheSizeOfAShare(t *testing.T) {
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "generation" {
				return slog.Attr{}
			}
			return a
		},
	}))
	o := func(s *site) worker.Options {
		o := s.options(worker.InProcess(s.server, s.credentials("a")))
		o.Logger = logger
		return o
	}
	logs := map[string][]int{}
	for _, n := range []int{0, 1, 7} {
		before := len(log.String())
		s := newSite(t, func(o *natsfleet.Options) { o.Logger = logger })
		s.run(o(s))
		next[fleet.Joined](s)
		s.release("first", 77, 4, 10)
		s.start(1, assignment, deal(ids[:n], "a"))
		next[fleet.Sum](s)
		s.start(2, assignment, deal(append(ids[:n:n], sick), "a"))
		next[fleet.Failed](s)
		said := log.String()[before:]
		logs[said] = append(logs[said], n)
	}
	if len(logs) != 1 {
		var all []string
		for said := range logs {
			all = append(all, said)
		}
		t.Errorf("the logs tell shares apart:\n%s", strings.Join(all, "\nfrom\n"))
	}
}
