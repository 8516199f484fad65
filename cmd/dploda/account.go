package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/dp/account"
	"github.com/dploda/dploda/internal/images"
)

// accountFlags are a question to the accountant.
type accountFlags struct {
	runFlags
	phases     []string
	delta      float64
	adjacency  string
	target     float64
	sampleRate float64
	steps      int
	curve      string
}

// accountAnswer is what --json prints.
type accountAnswer struct {
	Epsilon    *float64 `json:"epsilon"` // null: nothing is proved
	Delta      float64  `json:"delta"`
	Adjacency  string   `json:"adjacency"`
	Accountant string   `json:"accountant"`
	RDPEpsilon *float64 `json:"rdp_epsilon"`
	// NoiseMultiplier is the calibrated phase's.
	NoiseMultiplier float64        `json:"noise_multiplier,omitempty"`
	TargetEpsilon   float64        `json:"target_epsilon,omitempty"`
	Phases          []accountPhase `json:"phases"` // the calibrated one is the last
}

type accountPhase struct {
	SampleRate      float64 `json:"sample_rate"`
	NoiseMultiplier float64 `json:"noise_multiplier"`
	Steps           int     `json:"steps"`
}

func newAccount() *cobra.Command {
	var f accountFlags
	cmd := &cobra.Command{
		Use:   "account --phase Q:SIGMA:STEPS... --delta D | --target-epsilon E --sample-rate Q --steps T --delta D",
		Short: "Compute the ε of phases of training, or the noise for a target ε",
		Long: `account computes the ε at which phases of DP-SGD on Poisson samples are (ε, δ)
differentially private, or the least noise multiplier of one phase that reaches a
target ε, beside other phases if any are given. It reads no file.`,
		Example: `  dploda account --phase 0.00427:1.1:14062 --delta 1e-5
  dploda account --phase 1:10:5 --phase 0.0085:0.6:88 --delta 1e-5 --curve cost.png
  dploda account --target-epsilon 8 --sample-rate 0.01 --steps 1000 --delta 1e-6`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := f.answer(cmd)
			if err != nil {
				return err
			}
			return f.print(cmd, func() (any, string, error) { return answer, answer.text(), nil })
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.phases, "phase", nil, "a phase's sampling rate, noise multiplier and steps, Q:SIGMA:STEPS (repeatable)")
	flags.Float64Var(&f.delta, "delta", 0, "δ, below one over the number of images")
	flags.StringVar(&f.adjacency, "adjacency", "add-remove", "data sets compared: add-remove or replace-one")
	flags.Float64Var(&f.target, "target-epsilon", 0, "calibrate: the ε to reach")
	flags.Float64Var(&f.sampleRate, "sample-rate", 0, "calibrate: the sampling rate")
	flags.IntVar(&f.steps, "steps", 0, "calibrate: the number of steps")
	flags.StringVar(&f.curve, "curve", "", "draw ε over the steps into this PNG file")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

// answer computes what was asked. Every mistake in it is one in the flags.
func (f *accountFlags) answer(cmd *cobra.Command) (*accountAnswer, error) {
	var adjacency account.Adjacency
	if err := adjacency.UnmarshalText([]byte(f.adjacency)); err != nil {
		return nil, usageError{fmt.Errorf("--adjacency: %w", err)}
	}
	var events []account.Event
	for _, text := range f.phases {
		e, err := parsePhase(text)
		if err != nil {
			return nil, usageError{err}
		}
		events = append(events, e)
	}
	changed := cmd.Flags().Changed
	calibrate := changed("target-epsilon")
	switch {
	case !changed("delta"):
		return nil, usageError{errors.New("--delta is missing, for example --delta 1e-5")}
	case !calibrate && (changed("sample-rate") || changed("steps")):
		return nil, usageError{errors.New("--sample-rate and --steps are of the phase that --target-epsilon calibrates; give a known phase as --phase Q:SIGMA:STEPS")}
	case !calibrate && len(events) == 0:
		return nil, usageError{errors.New("there is nothing to account for: give --phase Q:SIGMA:STEPS, or --target-epsilon with --sample-rate and --steps")}
	case calibrate && !(changed("sample-rate") && changed("steps")):
		return nil, usageError{errors.New("--target-epsilon needs --sample-rate and --steps")}
	}
	answer := &accountAnswer{Delta: f.delta, Adjacency: adjacency.String(), Accountant: account.Accountant}
	if calibrate {
		sigma, err := account.Calibrate(f.target, f.delta, f.sampleRate, f.steps, events, adjacency)
		if err != nil {
			return nil, usageError{err}
		}
		answer.NoiseMultiplier, answer.TargetEpsilon = sigma, f.target
		events = append(events, account.Event{SampleRate: f.sampleRate, NoiseMultiplier: sigma, Steps: f.steps})
	}
	g, err := account.Epsilon(events, f.delta, adjacency)
	if err != nil {
		return nil, usageError{err}
	}
	answer.Epsilon, answer.RDPEpsilon = proved(g.Epsilon), proved(g.RDPEpsilon)
	for _, e := range events {
		answer.Phases = append(answer.Phases, accountPhase{e.SampleRate, e.NoiseMultiplier, e.Steps})
	}
	if f.curve != "" {
		return answer, drawCost(f.curve, events, f.delta, adjacency)
	}
	return answer, nil
}

// proved is nil for the infinite ε of which JSON has no number.
func proved(epsilon float64) *float64 {
	if math.IsInf(epsilon, 1) {
		return nil
	}
	return &epsilon
}

func parsePhase(text string) (account.Event, error) {
	wrong := fmt.Errorf("--phase %s: a phase is SAMPLING RATE:NOISE MULTIPLIER:STEPS, for example 0.01:1.1:1000", text)
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return account.Event{}, wrong
	}
	q, errQ := strconv.ParseFloat(parts[0], 64)
	sigma, errSigma := strconv.ParseFloat(parts[1], 64)
	steps, errSteps := strconv.Atoi(parts[2])
	if errors.Join(errQ, errSigma, errSteps) != nil {
		return account.Event{}, wrong
	}
	e := account.Event{SampleRate: q, NoiseMultiplier: sigma, Steps: steps}
	// The accountant's own words on a wrong number; no step costs anything.
	if _, err := account.Epsilon([]account.Event{{SampleRate: q, NoiseMultiplier: sigma, Steps: min(steps, 0)}}, 0.5, account.AddRemove); err != nil {
		_, problem, _ := strings.Cut(err.Error(), ": ")
		return account.Event{}, fmt.Errorf("--phase %s: %s", text, problem)
	}
	return e, nil
}

// curvePoints is how many points a curve has beside its start, at most.
const curvePoints = 60

// drawCost draws ε over the steps of the phases, one phase after the other.
func drawCost(path string, events []account.Event, delta float64, adjacency account.Adjacency) error {
	meter, err := account.NewMeter(delta, adjacency)
	if err != nil {
		return usageError{err}
	}
	total := 0
	for _, e := range events {
		total += e.Steps
	}
	stride := max(1, total/curvePoints)
	tight, rdp := images.Curve{Name: "privacy loss distributions"}, images.Curve{Name: "cross-check by RDP"}
	var done []account.Event
	before := 0
	add := func(steps int) error {
		g, err := meter.Epsilon(done)
		if err != nil {
			return err
		}
		x := float64(steps)
		tight.X, tight.Y = append(tight.X, x), append(tight.Y, g.Epsilon)
		rdp.X, rdp.Y = append(rdp.X, x), append(rdp.Y, g.RDPEpsilon)
		return nil
	}
	if err := add(0); err != nil {
		return err
	}
	for _, e := range events {
		done = append(done, e)
		for taken := 0; taken < e.Steps; {
			taken = min(e.Steps, taken+min(stride, max(1, taken))) // the first steps cost most
			done[len(done)-1].Steps = taken
			if err := add(before + taken); err != nil {
				return err
			}
		}
		before += e.Steps
	}
	return images.Chart{
		Title: fmt.Sprintf("cost at delta = %g, %s", delta, adjacency), X: "steps", Y: "epsilon", Curves: []images.Curve{tight, rdp},
	}.Write(path)
}

// text is the answer for people.
func (a *accountAnswer) text() string {
	var b strings.Builder
	if a.NoiseMultiplier > 0 {
		fmt.Fprintf(&b, "noise multiplier %.6f for ε = %g\n", a.NoiseMultiplier, a.TargetEpsilon)
	}
	for _, p := range a.Phases {
		fmt.Fprintf(&b, "%d steps at sampling rate %g with noise multiplier %g\n", p.Steps, p.SampleRate, p.NoiseMultiplier)
	}
	fmt.Fprintf(&b, "ε = %s at δ = %g, %s\n", shown(a.Epsilon), a.Delta, a.Adjacency)
	fmt.Fprintf(&b, "by %s\n", a.Accountant)
	fmt.Fprintf(&b, "cross-check: Rényi DP proves ε = %s\n", shown(a.RDPEpsilon))
	return b.String()
}

// shown is an ε rounded up.
func shown(epsilon *float64) string {
	if epsilon == nil {
		return "∞"
	}
	return strconv.FormatFloat(math.Ceil(*epsilon*1e6)/1e6, 'f', 6, 64)
}
