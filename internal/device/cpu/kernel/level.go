package kernel

import (
	"fmt"
	"os"
)

//go:generate go run ./gen

// portable is the slowest of the implementations this program holds; the
// others and levelNames are a processor's.
const portable = 0

// active is the implementation in use.
var active = initialLevel()

// Level names the implementation in use: portable, on amd64 avx2 or avx512, on
// arm64 neon. All give the same bits. It is the best that the processor has, or
// what the environment variable DPLODA_CPU names.
func Level() string { return levelNames[active] }

// Levels lists the implementations that this machine can run.
func Levels() []string { return levelNames[:bestLevel()+1] }

// Use selects an implementation by name, for tests and benchmarks. It must not
// run concurrently with kernels.
func Use(name string) error {
	for i, n := range Levels() {
		if n == name {
			active = i
			return nil
		}
	}
	return fmt.Errorf("kernel: this machine has no implementation %q, it has %v", name, Levels())
}

func initialLevel() int {
	name := os.Getenv("DPLODA_CPU")
	if name == "" {
		return bestLevel()
	}
	for i, n := range Levels() {
		if n == name {
			return i
		}
	}
	panic(fmt.Sprintf("DPLODA_CPU=%s: this machine can run %v", name, Levels()))
}
