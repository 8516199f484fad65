package safeguard

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// childFlag makes the test binary a process that crashes: "guarded" after
// Process, "open" without it.
const childFlag = "DPLODA_TEST_CRASH"

func TestMain(m *testing.M) {
	if how := os.Getenv(childFlag); how != "" {
		crash(how)
	}
	os.Exit(m.Run())
}

// crash panics in a goroutine that nobody contains.
func crash(how string) {
	if how == "guarded" {
		if err := Process(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fmt.Println(state())
	done := make(chan int)
	go func() { panic("crashed") }()
	<-done
}

// runChild returns what the crashing process said of its protection, and its
// complaint.
func runChild(t *testing.T, how string) (said, complaint string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut strings.Builder
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), childFlag+"="+how, "GOTRACEBACK=")
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errOut, t.TempDir()
	if err := cmd.Run(); err == nil {
		t.Fatal("the child did not crash")
	}
	return strings.TrimSpace(out.String()), errOut.String()
}

// The control prints its trace, whose arguments would be values: a Process that
// does nothing fails here.
func TestACrashPrintsNoTrace(t *testing.T) {
	if _, complaint := runChild(t, "open"); !strings.Contains(complaint, "safeguard_test.go:") {
		t.Fatalf("the control prints no trace:\n%s", complaint)
	}
	_, complaint := runChild(t, "guarded")
	if strings.Contains(complaint, "safeguard_test.go:") || !strings.Contains(complaint, "panic: crashed") {
		t.Errorf("the guarded process complained:\n%s", complaint)
	}
}

func TestContainTellsThePlaceAndNoValue(t *testing.T) {
	secret := []int{41, 42, 43}
	err := Contain(func() error {
		secret[len(secret)-1] = secret[len(secret)+987_000]
		return nil
	})
	if !errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "(runtime.boundsError) at safeguard_test.go:") || strings.Contains(err.Error(), "987") {
		t.Errorf("got %v", err)
	}
	err = Contain(func() error { panic(fmt.Errorf("the value is %d", secret[0])) })
	if !errors.Is(err, ErrPanic) || strings.Contains(err.Error(), "41") {
		t.Errorf("got %v", err)
	}
	other := errors.New("an ordinary error")
	if err := Contain(func() error { return other }); err != other {
		t.Errorf("an error became %v", err)
	}
	if err := Contain(func() error { return nil }); err != nil {
		t.Errorf("success became %v", err)
	}
}
