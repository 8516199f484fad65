package pipeline

import (
	"errors"
	"fmt"
	"os"

	"github.com/dploda/dploda/coordinator"
	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
)

// readSite reads the ledger in a state folder, verified, "" for the default one.
func readSite(state string) ([][]byte, error) {
	dir, err := siteDir(state)
	if err != nil {
		return nil, err
	}
	return coordinator.ReadLedger(dir)
}

// ShowLedger describes the site's ledger: its domains and its runs.
func ShowLedger(state string) (value any, text string, err error) {
	events, err := readSite(state)
	if err != nil {
		return nil, "", err
	}
	dir, err := siteDir(state)
	if err != nil {
		return nil, "", err
	}
	view, err := ledger.Verify(events)
	if err != nil {
		return nil, "", err
	}
	f, err := describeLedger(header{"ledger", dir}, view)
	if err != nil {
		return nil, "", err
	}
	var t table
	fmt.Fprintf(&t, "%s: the site's ledger of %s in %s, its chain verified\n", dir, count(len(f.Runs), "run"), count(f.Entries, "entry"))
	f.rows(&t)
	return f, harmless(t.String()), nil
}

// ExportLedger copies the site's ledger into a file, which 'dploda ledger
// verify' reads on any machine.
func ExportLedger(state, out string) error {
	events, err := readSite(state)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists; choose another file with --out", out)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(ledger.Export(events))
	return errors.Join(err, f.Sync(), f.Close())
}

// LedgerVerification is what a verified ledger holds.
type LedgerVerification struct {
	Ledger  string `json:"ledger"` // a file or a state folder
	Entries int    `json:"entries"`
	Head    string `json:"head"`
	Domains int    `json:"domains"`
	Runs    int    `json:"runs"`
}

// VerifyLedger replays an exported ledger or, with an empty path, the site's: it
// checks the chain and every rule of the state machine, and computes the
// domains' limits and the runs' costs again.
func VerifyLedger(path, state string) (*LedgerVerification, error) {
	var events [][]byte
	var err error
	if path != "" {
		events, err = readExport(path)
	} else {
		if path, err = siteDir(state); err == nil {
			events, err = coordinator.ReadLedger(path)
		}
	}
	if err != nil {
		return nil, err
	}
	view, err := domain.Verify(events)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged or was edited: %w", path, err)
	}
	return &LedgerVerification{path, view.Entries, view.Head.String(), len(view.Domains), len(view.Runs)}, nil
}

// Text is the verification for people.
func (v *LedgerVerification) Text() string {
	return fmt.Sprintf("%s: verified, %s, %s, %s\n  head %s\n", v.Ledger,
		count(v.Entries, "entry"), count(v.Domains, "domain"), count(v.Runs, "run"), v.Head)
}

// CloseRun ends a run for ever, by its full id.
func CloseRun(state, id string) error {
	run, err := parseRunID(id)
	if err != nil {
		return usage{fmt.Errorf("closing cannot be undone, so it takes the whole id that 'dploda ledger show' prints: %w", err)}
	}
	dir, err := siteDir(state)
	if err != nil {
		return err
	}
	site, err := coordinator.OpenSite(dir, nil)
	if err != nil {
		return err
	}
	return errors.Join(site.CloseRun(run), site.Close())
}
