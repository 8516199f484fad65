package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dploda/dploda/dataset"
	"github.com/dploda/dploda/dataset/drawn"
)

// TestScripts holds what the program says to bad input, word for word.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROOT", root)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, ".state"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"refused": scriptRefused, "images": scriptImages, "cut": scriptCut, "grow": scriptGrow, "poke": scriptPoke,
			"picture": scriptPicture, "escape": scriptEscape,
		},
	})
}

// refused CODE ARG...: the program ends with the exit code and prints nothing
// to standard output.
func scriptRefused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: refused CODE ARG...")
	}
	err := ts.Exec("dploda", args[1:]...)
	code := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("standard output is not empty:\n%s", out)
	}
}

// images DIR: a small data set of ten classes under MNIST's file names, not
// compressed.
func scriptImages(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: images DIR")
	}
	folder := ts.MkAbs(args[0])
	ts.Check(dataset.WriteIdx(folder, dataset.Train, drawn.Shapes(1, 30)))
	packed, err := filepath.Glob(filepath.Join(folder, "*.gz"))
	ts.Check(err)
	for _, path := range packed {
		content, err := os.ReadFile(path)
		ts.Check(err)
		r, err := gzip.NewReader(bytes.NewReader(content))
		ts.Check(err)
		content, err = io.ReadAll(r)
		ts.Check(err)
		ts.Check(os.WriteFile(path[:len(path)-len(".gz")], content, 0o644))
		ts.Check(os.Remove(path))
	}
}

// edit is a script command on a file's content and a number.
func edit(ts *testscript.TestScript, args []string, usage string, change func(content []byte, n int) []byte) {
	if len(args) != 2 {
		ts.Fatalf("usage: %s", usage)
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	content, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, change(content, n), 0o644))
}

func scriptCut(ts *testscript.TestScript, _ bool, args []string) {
	edit(ts, args, "cut FILE BYTES", func(content []byte, n int) []byte { return content[:len(content)-n] })
}

func scriptGrow(ts *testscript.TestScript, _ bool, args []string) {
	edit(ts, args, "grow FILE BYTES", func(content []byte, n int) []byte { return append(content, make([]byte, n)...) })
}

// poke FILE OFFSET: the byte there becomes 77.
func scriptPoke(ts *testscript.TestScript, _ bool, args []string) {
	edit(ts, args, "poke FILE OFFSET", func(content []byte, n int) []byte { content[n] = 77; return content })
}

// picture FILE WIDTHxHEIGHT [grey]: a PNG file of that size, the same pixels each
// time.
func scriptPicture(ts *testscript.TestScript, neg bool, args []string) {
	var w, h int
	if len(args) < 2 {
		ts.Fatalf("usage: picture FILE WIDTHxHEIGHT [grey]")
	}
	if _, err := fmt.Sscanf(args[1], "%dx%d", &w, &h); err != nil {
		ts.Check(err)
	}
	var m draw.Image = image.NewRGBA(image.Rect(0, 0, w, h))
	if len(args) == 3 {
		m = image.NewGray(m.Bounds())
	}
	for y := range h {
		for x := range w {
			m.Set(x, y, color.RGBA{uint8(5 * x), uint8(3 * y), uint8(x * y), 255})
		}
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	f, err := os.Create(path)
	ts.Check(err)
	ts.Check(png.Encode(f, m))
	ts.Check(f.Close())
}

// escape DIR: a file whose name would clear a terminal.
func scriptEscape(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: escape DIR")
	}
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), "\x1b[2J.png"), []byte("no image"), 0o644))
}
