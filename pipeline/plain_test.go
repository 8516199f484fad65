package pipeline

import (
	"context"
	"testing"
)

// TestPlainRunOnABaseWithAPrototypeChannel: plain DP-LoDA leaves the channel
// empty; the section prototypes is a choice, not a need.
func TestPlainRunOnABaseWithAPrototypeChannel(t *testing.T) {
	spec, err := DemoSpec()
	if err != nil {
		t.Fatal(err)
	}
	spec.Prototypes = nil
	resolved, err := resolve(spec)
	if err != nil {
		t.Fatal(err)
	}
	if !resolved.base.PrototypeChannel() || len(resolved.mechanisms) != 1 {
		t.Fatalf("the demo's base has a prototype channel: %v; mechanisms: %d, want 1", resolved.base.PrototypeChannel(), len(resolved.mechanisms))
	}
	r := &run{resolved: resolved, obs: quiet{}, dev: newDevice()}
	if err := r.probe(context.Background()); err != nil {
		t.Error(err)
	}
}
