package kernel

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestEnvironment runs this test binary again with DPLODA_CPU set.
func TestEnvironment(t *testing.T) {
	if os.Getenv("KERNEL_PRINT_LEVEL") != "" {
		t.Logf("level %s.", Level())
		return
	}
	again := func(value string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironment$", "-test.v")
		cmd.Env = append(os.Environ(), "KERNEL_PRINT_LEVEL=1", "DPLODA_CPU="+value)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, level := range Levels() {
		if out, err := again(level); err != nil || !strings.Contains(out, "level "+level+".") {
			t.Errorf("DPLODA_CPU=%s: %v\n%s", level, err, out)
		}
	}
	if out, err := again(""); err != nil || !strings.Contains(out, "level "+Levels()[len(Levels())-1]+".") {
		t.Errorf("without DPLODA_CPU the best level should run: %v\n%s", err, out)
	}
	if out, err := again("mmx"); err == nil || !strings.Contains(out, "DPLODA_CPU=mmx: this machine can run [portable") {
		t.Errorf("DPLODA_CPU=mmx: %v\n%s", err, out)
	}
}

func TestUse(t *testing.T) {
	restore := active
	defer func() { active = restore }()
	for _, level := range Levels() {
		if err := Use(level); err != nil || Level() != level {
			t.Errorf("Use(%q) gives level %s, error %v", level, Level(), err)
		}
	}
	if err := Use("mmx"); err == nil {
		t.Error("an unknown level was accepted")
	}
}
