package account

import "testing"

func benchmarkEpsilon(b *testing.B, delta float64, events ...Event) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Epsilon(events, delta, AddRemove); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEpsilonTypical(b *testing.B) {
	benchmarkEpsilon(b, 1e-5, Event{256. / 60000, 1.1, 14062})
}

// The slowest rows of the reference table.
func BenchmarkEpsilonSlowest(b *testing.B)   { benchmarkEpsilon(b, 1e-6, Event{0.0001, 0.8, 200_000}) }
func BenchmarkEpsilonWeakNoise(b *testing.B) { benchmarkEpsilon(b, 1e-7, Event{0.001, 0.5, 200_000}) }

func BenchmarkEpsilonPhases(b *testing.B) {
	benchmarkEpsilon(b, 1e-6, Event{0.001, 0.7, 5000}, Event{0.004, 1.5, 5000}, Event{0.02, 4, 1000})
}

// What a running training asks after every step.
func BenchmarkMeter(b *testing.B) {
	b.ReportAllocs()
	m, err := NewMeter(1e-5, AddRemove)
	if err != nil {
		b.Fatal(err)
	}
	ask := func(steps int) {
		if _, err := m.Epsilon([]Event{{1, 10, 5}, {256. / 60000, 1.1, steps}}); err != nil {
			b.Fatal(err)
		}
	}
	ask(9000)
	for steps := 9000; b.Loop(); steps = 9000 + (steps+1)%7000 {
		ask(steps)
	}
}

func benchmarkCalibrate(b *testing.B, target, q float64, steps int, fixed ...Event) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Calibrate(target, 1e-5, q, steps, fixed, AddRemove); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCalibrate(b *testing.B)     { benchmarkCalibrate(b, 3, 256./60000, 14040) }
func BenchmarkCalibrateDemo(b *testing.B) { benchmarkCalibrate(b, 10, 512./60000, 88, Event{1, 10, 5}) }

// The slowest row of the reference table.
func BenchmarkCalibrateSlowest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Calibrate(0.5, 1e-8, 0.0001, 200_000, nil, AddRemove); err != nil {
			b.Fatal(err)
		}
	}
}
