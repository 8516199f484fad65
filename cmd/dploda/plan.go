package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/internal/config"
	"github.com/dploda/dploda/pipeline"
)

// measureTime is how long plan measures the machine.
const measureTime = 10 * time.Second

func newPlan() *cobra.Command {
	var f siteFlags
	var epsilons, cluster string
	var measure bool
	var o pipeline.ForecastOptions
	cmd := &cobra.Command{
		Use:   "plan CONFIG [--epsilon 1,3,8,10] [--cluster 4x16]",
		Short: "Say what a config would cost and give at several ε, before it is run",
		Long: `plan prints for each ε the noise, how it compares with the signal, the time on
this machine and on a cluster, the memory, and a sentence of advice. Steps and
batch stay those of the config; the noise is calibrated to each ε. It measures
this machine for about 10 seconds on random images, and opens no private file.

What the figures mean: docs/planning.md.`,
		Args: oneArg("the config file, for example examples/mnist.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.Epsilons, err = parseEpsilons(epsilons); err != nil {
				return usageError{err}
			}
			if cluster != "" {
				c, err := pipeline.ParseCluster(cluster)
				if err != nil {
					return usageError{err}
				}
				if !measure {
					return usageError{fmt.Errorf("--cluster is estimated from what this machine does; it needs --measure")}
				}
				o.Cluster = &c
			}
			spec, err := config.LoadRun(args[0])
			if err != nil {
				return usageError{err}
			}
			o.State = f.state
			if measure {
				o.Measure = measureTime
			}
			forecast, err := pipeline.PlanAhead(cmd.Context(), spec, o)
			if err != nil {
				return asUsage(err)
			}
			return f.print(cmd, func() (any, string, error) { return forecast, forecast.Text(), nil })
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&epsilons, "epsilon", "1,3,8,10", "the ε to compare, with commas between them")
	cmd.Flags().StringVar(&cluster, "cluster", "", "also estimate the time on MACHINESxTHREADS, for example 4x16")
	cmd.Flags().BoolVar(&measure, "measure", true, "measure this machine for about 10 seconds; =false prints no hours")
	return cmd
}

// mostEpsilons bounds a list: each takes a second to calibrate.
const mostEpsilons = 32

// parseEpsilons reads "1,3,8,10".
func parseEpsilons(text string) ([]float64, error) {
	parts := strings.Split(text, ",")
	if len(parts) > mostEpsilons {
		return nil, fmt.Errorf("--epsilon lists %d values; at most %d are compared", len(parts), mostEpsilons)
	}
	var list []float64
	for _, part := range parts {
		e, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || !(e > 0 && e <= 1000) {
			return nil, fmt.Errorf("--epsilon is %q; it takes numbers above 0 and at most 1000 with commas between them, for example 1,3,8,10", text)
		}
		list = append(list, e)
	}
	return list, nil
}
