package coordinator

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/dploda/dploda/dp/plan"
)

// vector learns nothing: it sums up, at the size of a real adapter.
type vector []int32

func (v vector) Apply(_ uint64, noised []int32) error {
	for i, n := range noised {
		v[i] += n
	}
	return nil
}

func (v vector) Parameters() []byte { b, _ := v.MarshalState(); return b }
func (v vector) MarshalState() ([]byte, error) {
	return binary.Append(nil, binary.LittleEndian, []int32(v))
}
func (v vector) UnmarshalState(b []byte) error {
	_, err := binary.Decode(b, binary.LittleEndian, []int32(v))
	return err
}

// BenchmarkStep is what the protocol costs in a step of half a million
// coordinates, on the disk of the temporary directory: four entries, the noise
// (drawn here with nothing to hide behind), a noised sum and its share of the
// checkpoints.
func BenchmarkStep(b *testing.B) {
	const size = 500_000
	m, err := plan.New(plan.Spec{Phase: "finetune", SampleRate: 0.01, Nominal: 4000, NoiseMultiplier: 1,
		ClipNorm: 1, Dim: size, Steps: b.N, Reserve: 3})
	if err != nil {
		b.Fatal(err)
	}
	x := newTrial(b, nil, 1, 1)
	x.dir, x.id.Phases = b.TempDir(), []plan.Mechanism{m}
	x.fleet = newFleet("a")
	x.fleet.disturb = sumOfNothing(size)
	x.every = 20
	c, err := x.open()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	b.ResetTimer()
	if err := c.Run(context.Background(), []Phase{{m, make(vector, size), 4000}}, nil); err != nil {
		b.Fatal(err)
	}
}
