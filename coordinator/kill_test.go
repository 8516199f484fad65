package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childVariable makes the test binary a process to be killed: its value is the
// state directory.
const childVariable = "DPLODA_COORDINATOR_TEST_CHILD"

const killSteps = 40

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child runs to the end, if it is left to live, and prints the final state.
func child(dir string) error {
	x := newTrial(nil, seed(11), killSteps, 1000)
	x.dir = dir
	if err := x.process(context.Background()); err != nil {
		return err
	}
	fmt.Println(x.state())
	return nil
}

// launch starts a process on dir and kills it after the delay, if that comes
// first. It returns the final state of a process that came to its end.
func launch(t *testing.T, dir string, delay time.Duration) (state string, killed bool) {
	t.Helper()
	var out, complaint strings.Builder
	cmd := exec.Command(os.Args[0])
	// Under the race detector a process would sleep for a second at its end.
	cmd.Env = append(os.Environ(), childVariable+"="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != -1) {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	return strings.TrimSpace(out.String()), err != nil
}

// kill -9 at any moment, on a real disk, and the same command again: the run
// goes on to the very state of an undisturbed one, the ledger verifies, and a
// kill costs at most one charge. The moments are fractions of the time that
// this machine takes for the whole run.
func TestKillNineAtAnyMoment(t *testing.T) {
	begin := time.Now()
	undisturbed, _ := launch(t, t.TempDir(), 2*time.Minute)
	whole := time.Since(begin)
	x := newTrial(t, seed(11), killSteps, 1000)
	x.dir = t.TempDir()
	kills, state := 0, ""
	for delay := whole / 8; state == ""; delay += whole / 24 {
		if delay > 20*whole {
			t.Fatal("the run does not come to its end")
		}
		var killed bool
		if state, killed = launch(t, x.dir, delay); killed {
			kills++
		}
	}
	if undisturbed == "" || state != undisturbed {
		t.Errorf("%d kills change the final state", kills)
	}
	if kills < 3 {
		t.Errorf("only %d kills", kills)
	}
	r, lost := x.view(), 0
	for _, p := range r.Phases {
		lost += p.Charges - p.Mechanism.Steps
	}
	if !r.Complete() || lost < 0 || lost > kills {
		t.Errorf("complete %v, %d charges lost in %d kills", r.Complete(), lost, kills)
	}
	t.Logf("%d kills, %d charges lost", kills, lost)
}
