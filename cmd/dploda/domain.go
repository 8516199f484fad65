package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/dploda/dploda/pipeline"
)

// siteFlags are those of commands on a site's state folder.
type siteFlags struct {
	state string
	runFlags
}

func (f *siteFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.state, "state", "", "the site's state folder (default $XDG_STATE_HOME/dploda)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

// asUsage makes a mistake in what was typed exit code 2.
func asUsage(err error) error {
	if errors.Is(err, pipeline.ErrUsage) {
		return usageError{err}
	}
	return err
}

func newDomain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "domain",
		Short: "Register, show and revise data domains, each with one budget for all of its runs",
		Long: `domain keeps the site's data domains. A domain is a name for the images of the
same people, with one privacy budget (ε, δ) for everything that is ever computed
on them: every run on private images names its domain (privacy.domain), and the
ledger refuses a run that the budget does not allow.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDomainRegister(), newDomainShow(), newDomainRevise())
	return cmd
}

func newDomainRegister() *cobra.Command {
	var f siteFlags
	var spec pipeline.DomainSpec
	cmd := &cobra.Command{
		Use:   "register NAME --epsilon E --delta D",
		Short: "Register a data domain, once",
		Args:  oneArg("the name of the data domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			facts, err := pipeline.RegisterDomain(f.state, spec)
			if err != nil {
				return asUsage(err)
			}
			return f.print(cmd, func() (any, string, error) { return facts, facts.Text(), nil })
		},
	}
	f.register(cmd)
	cmd.Flags().Float64Var(&spec.Epsilon, "epsilon", 0, "ε of all runs together")
	cmd.Flags().Float64Var(&spec.Delta, "delta", 0, "δ, below one over the number of images")
	cmd.Flags().StringVar(&spec.Unit, "unit", "image", "what is protected: image or group")
	cmd.Flags().StringVar(&spec.Adjacency, "adjacency", "add-remove", "data sets compared: add-remove or replace-one")
	cmd.Flags().Float64Var(&spec.Order, "order", 0, "Rényi order of the filter for runs after the first charge, in tenths (default: chosen from ε and δ)")
	return cmd
}

func newDomainShow() *cobra.Command {
	var f siteFlags
	cmd := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show budgets, what is spent and what is left",
		Args:  atMostOneArg("the name of a data domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.print(cmd, func() (any, string, error) { return pipeline.ShowDomains(f.state, optional(args)) })
		},
	}
	f.register(cmd)
	return cmd
}

func newDomainRevise() *cobra.Command {
	var f siteFlags
	var epsilon float64
	var reason string
	cmd := &cobra.Command{
		Use:   "revise NAME --epsilon E --reason TEXT",
		Short: "Raise a data domain's budget, for everybody to see",
		Args:  oneArg("the name of the data domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			facts, err := pipeline.ReviseDomain(f.state, args[0], epsilon, reason)
			if err != nil {
				return asUsage(err)
			}
			return f.print(cmd, func() (any, string, error) { return facts, facts.Text(), nil })
		},
	}
	f.register(cmd)
	cmd.Flags().Float64Var(&epsilon, "epsilon", 0, "the new ε, above the one before")
	cmd.Flags().StringVar(&reason, "reason", "", "why the budget is raised; it stays in the ledger")
	return cmd
}
