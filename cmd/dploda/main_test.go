package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary the program dploda for the processes that
// the tests start.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"dploda": main})
}

// needFullTier skips what is too long for every day.
func needFullTier(t *testing.T) {
	t.Helper()
	if os.Getenv("DPLODA_TIER") != "full" {
		t.Skip("takes minutes: runs with DPLODA_TIER=full")
	}
}

// process is one run of the program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer // read them after the end
	stderr bytes.Buffer
	ended  chan struct{}
}

// start starts the program. Its site's state folder is a throw-away one.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("dploda", args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait() // its outcome is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() { p.strike(syscall.SIGKILL) })
	return p
}

// strike sends a signal and returns the exit code: -1 if a signal ended it.
func (p *process) strike(signal syscall.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
	return p.wait()
}

func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(8 * time.Minute): // a hang, not a slow machine: the whole audit takes one minute alone
		p.cmd.Process.Kill()
		p.t.Fatal("the program goes on for eight minutes")
	}
	return p.cmd.ProcessState.ExitCode()
}

// until waits for a moment in the program's life. It returns false if the
// program ended before.
func (p *process) until(moment func() bool) bool {
	for {
		select {
		case <-p.ended:
			return moment()
		case <-time.After(2 * time.Millisecond):
			if moment() {
				return true
			}
		}
	}
}

// run runs the program to its end and returns its exit code and output.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, args...)
	code = p.wait()
	return code, p.stdout.String(), p.stderr.String()
}

// refused runs the program, which must end with this code and sentence.
func refused(t *testing.T, code int, sentence string, args ...string) {
	t.Helper()
	got, stdout, stderr := run(t, args...)
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if last := lines[len(lines)-1]; got != code || last != "dploda: "+sentence || stdout != "" {
		t.Errorf("dploda %s\nexit code %d, want %d\n%s\nwant the last line\ndploda: %s", strings.Join(args, " "), got, code, stderr+stdout, sentence)
	}
}

func exists(parts ...string) bool {
	_, err := os.Stat(filepath.Join(parts...))
	return err == nil
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
