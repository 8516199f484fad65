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

// kill -9 at any moment, on a real disk, and the same command again: the run
// goes on to the very state of an undisturbed one, the ledger verifies, and a
// kill costs at most one charge.
func TestKillNineAtAnyMoment(t *testing.T) {
	undisturbed := newTrial(t, seed(11), killSteps, 1000)
	undisturbed.mustRun()
	x := newTrial(t, seed(11), killSteps, 1000)
	x.dir = t.TempDir()
	kills, state := 0, ""
	for delay := 40 * time.Millisecond; state == ""; delay += 7 * time.Millisecond {
		if delay > time.Second {
			t.Fatal("the run does not come to its end")
		}
		var out, complaint strings.Builder
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+x.dir)
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(delay, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		var exit *exec.ExitError
		switch {
		case err == nil:
			state = strings.TrimSpace(out.String())
		case !errors.As(err, &exit) || exit.ExitCode() != -1:
			t.Fatalf("after %d kills: %v: %s", kills, err, complaint.String())
		default:
			kills++
		}
	}
	if state != undisturbed.state() {
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
