package coordinator

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/dploda/dploda/dp/domain"
	"github.com/dploda/dploda/dp/ledger"
	"github.com/dploda/dploda/internal/tags"
)

// admit makes or reads the run's key and admits the run to its data domain, or
// finds that the ledger holds it as it is.
func (c *Coordinator) admit() error {
	id := c.opt.Run
	admit := ledger.Admit{Run: id.ID, Domain: id.Domain, Unit: id.Unit, Spec: id.Spec, Budget: id.Budget,
		TestMode: c.opt.TestSeed != nil, Phases: id.Phases}
	if id.Public {
		admit.Domain = ledger.PublicPrefix + id.ID.String()
	}
	if c.opt.TestSeed != nil {
		c.secrets = testSecrets(*c.opt.TestSeed)
	}
	if r, ok := c.ledger.fsm.run(c.run); ok {
		return c.rejoin(r, admit)
	}
	p, err := c.place(admit)
	if err != nil {
		return err
	}
	if err := p.settle(c); err != nil {
		return err
	}
	if err := c.arrow("before key"); err != nil {
		return err
	}
	if c.secrets == nil {
		if c.secrets, err = makeKey(c.opt.StateDir, c.run); err != nil {
			return err
		}
	}
	_, err = c.propose("admit", func(prev ledger.Hash) ledger.Entry {
		p.admit.Prev = prev
		return p.admit
	})
	return err
}

func (c *Coordinator) rejoin(r ledger.RunView, now ledger.Admit) error {
	then := r.Admit
	switch {
	case then.Domain != now.Domain || then.Unit != now.Unit || then.Spec != now.Spec || then.Budget != now.Budget || !slices.Equal(then.Phases, now.Phases):
		return fmt.Errorf("run %s was admitted with another configuration; continue it with the one it was begun with, or start a new run", c.run)
	case r.Closed:
		return fmt.Errorf("run %s was closed by 'dploda ledger close'; start a new run", c.run)
	}
	if err := c.sameImages(then); err != nil {
		return err
	}
	if r.Complete() {
		return destroyKey(c.opt.StateDir, c.run)
	}
	if c.secrets != nil {
		return nil
	}
	var err error
	c.secrets, err = readKey(c.opt.StateDir, c.run)
	return err
}

// sameImages compares the images with the version that the run was admitted with.
func (c *Coordinator) sameImages(then ledger.Admit) error {
	if then.Version == (ledger.VersionID{}) {
		return nil
	}
	store, err := tags.Open(c.opt.StateDir, 1)
	if err != nil {
		return err
	}
	known, err := store.Read(then.Version)
	if err != nil {
		return err
	}
	now, err := c.opt.Run.Tags(store.Key())
	if err != nil {
		return err
	}
	if !slices.Equal(known, now) {
		return fmt.Errorf("the images are not those that run %s was admitted with; restore the data folder, or start a new run", c.run)
	}
	return nil
}

// placement is a run that its domain allows, and what must be settled before it
// is admitted.
type placement struct {
	admit ledger.Admit
	// register opens the domain of a run on public images, unless it was opened by
	// a process that ended before Admit.
	register *ledger.Register
	// attach makes images that the domain does not know as one version part of it;
	// their tags are durable before.
	attach *ledger.Attach
	store  *tags.Store
	sorted []tags.Tag
}

// place finds the run's domain and version, and tries on a copy of the ledger
// whether the domain allows it: a run that it refuses leaves nothing behind.
func (c *Coordinator) place(a ledger.Admit) (*placement, error) {
	p, view := &placement{admit: a}, c.ledger.fsm.view()
	d, known := view.Domain(a.Domain)
	if run := c.opt.Run.Adjacency; known && d.Register.Adjacency != run {
		return nil, fmt.Errorf("the run's noise is for the adjacency %s, data domain %q was registered for %s; set privacy.adjacency: %[3]s", run, a.Domain, d.Register.Adjacency)
	}
	if c.opt.Run.Public && !known {
		r := domain.RegisterPublic(a.Run, a.Budget, a.Unit, c.opt.Run.Adjacency)
		p.register = &r
	}
	if err := p.findVersion(view, c.opt); err != nil {
		return nil, err
	}
	trial, err := ledger.Replay(c.ledger.fsm.events())
	if err != nil {
		return nil, err
	}
	if p.register != nil {
		p.register.Prev = trial.Head()
		err = errors.Join(err, try(trial, *p.register))
	}
	if p.attach != nil {
		p.attach.Prev = trial.Head()
		err = errors.Join(err, try(trial, *p.attach))
	}
	if err != nil {
		return nil, err
	}
	if p.admit, err = domain.Fill(p.admit, trial.View()); err != nil {
		return nil, fmt.Errorf("the run's privacy cost cannot be computed: %w", err)
	}
	p.admit.Prev = trial.Head()
	if err := try(trial, p.admit); err != nil {
		return nil, fmt.Errorf("the run cannot be admitted: %w", err)
	}
	return p, nil
}

// try applies an entry to a copy of the ledger.
func try(m *ledger.Machine, e ledger.Entry) error {
	raw, err := ledger.Encode(e)
	if err != nil {
		return err
	}
	return m.Apply(raw).Err
}

// findVersion compares the images with those of every domain. Images of another
// domain are refused; images that this one knows as a whole are that version,
// others a new one. How many they have in common is told to nobody.
func (p *placement) findVersion(view ledger.View, o Options) error {
	owner, known := view.Domain(p.admit.Domain)
	versions := 0
	for _, d := range view.Domains {
		versions += len(d.Versions)
	}
	switch {
	case o.Run.Public && versions == 0:
		return nil
	case !o.Run.Public && known && owner.Register.Public:
		return fmt.Errorf("data domain %q is of images declared public; these are private (data.public)", p.admit.Domain)
	case !o.Run.Public && !known:
		return fmt.Errorf("data domain %q is not registered in %s; register it with 'dploda domain register %[1]s --epsilon E --delta D', or name the right folder with --state", p.admit.Domain, o.StateDir)
	}
	var err error
	if p.store, err = tags.Open(o.StateDir, versions); err != nil {
		return err
	}
	if p.sorted, err = o.Run.Tags(p.store.Key()); err != nil {
		return err
	}
	for _, d := range view.Domains {
		for _, v := range d.Versions {
			other, err := p.store.Read(v)
			if err != nil {
				return err
			}
			switch same := d.Register.Domain == p.admit.Domain; {
			case same && slices.Equal(other, p.sorted):
				p.admit.Version = v
			case !same && tags.Share(other, p.sorted):
				return errShared(d.Register.Domain, o.Run.Public)
			}
		}
	}
	if !o.Run.Public && p.admit.Version == (ledger.VersionID{}) {
		rand.Read(p.admit.Version[:])
		p.attach = &ledger.Attach{Domain: p.admit.Domain, Version: p.admit.Version}
	}
	return nil
}

func errShared(domain string, public bool) error {
	if public {
		return fmt.Errorf("images that are declared public (data.public) belong to the private data domain %q; take them out, or charge the run to it with data.public: false and privacy.domain: %[1]s", domain)
	}
	return fmt.Errorf("some of the images belong to data domain %q; charge the run to it with privacy.domain: %[1]s, or take them out", domain)
}

// settle makes the tags durable and brings the domain's own entries into the
// ledger.
func (p *placement) settle(c *Coordinator) error {
	if p.register != nil {
		if _, err := c.propose("register", func(prev ledger.Hash) ledger.Entry {
			p.register.Prev = prev
			return *p.register
		}); err != nil {
			return err
		}
	}
	if p.attach == nil {
		return nil
	}
	if err := p.store.Prepare(p.attach.Version, p.sorted); err != nil {
		return err
	}
	if _, err := c.propose("attach", func(prev ledger.Hash) ledger.Entry {
		p.attach.Prev = prev
		return *p.attach
	}); err != nil {
		return err
	}
	return p.store.Confirm(p.attach.Version)
}
