package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// exportMagic opens an exported ledger; its number is the version.
const exportMagic = "dploda ledger events 2\n"

// Events returns the accepted entries, in order, since the ledger began. The
// caller must not change them.
func (m *Machine) Events() [][]byte { return slices.Clip(m.events) }

// Verify replays events on an empty ledger. It fails at the first entry that
// the state machine would not have accepted there: any byte changed, any entry
// removed, added or moved within the chain. Entries cut off at the end leave a
// shorter valid chain: compare the returned Head with one that was kept
// elsewhere.
func Verify(events [][]byte) (View, error) {
	m, err := Replay(events)
	if err != nil {
		return View{}, err
	}
	return m.View(), nil
}

// Replay returns the machine to which events lead.
func Replay(events [][]byte) (*Machine, error) {
	var m Machine
	for i, raw := range events {
		if a := m.Apply(raw); a.Err != nil {
			return nil, fmt.Errorf("ledger entry %d: %w", i+1, a.Err)
		}
		if len(m.events) != i+1 {
			return nil, fmt.Errorf("ledger entry %d repeats an earlier one", i+1)
		}
	}
	return &m, nil
}

// Export encodes events for a file: the magic, then each entry behind its
// length in four bytes, big-endian.
func Export(events [][]byte) []byte {
	b := []byte(exportMagic)
	for _, raw := range events {
		b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
		b = append(b, raw...)
	}
	return b
}

// Import splits what Export wrote. It verifies nothing: see Verify.
func Import(b []byte) ([][]byte, error) {
	if bytes.HasPrefix(b, []byte("dploda ledger events 1\n")) {
		return nil, errBeforeDomains
	}
	if len(b) < len(exportMagic) || string(b[:len(exportMagic)]) != exportMagic {
		return nil, errors.New("these bytes are not an exported ledger of this version")
	}
	var events [][]byte
	for b = b[len(exportMagic):]; len(b) > 0; {
		if len(b) < 4 {
			return nil, errors.New("an exported ledger ends within an entry")
		}
		n := binary.BigEndian.Uint32(b)
		if n > MaxEntry || int(n) > len(b)-4 {
			return nil, errors.New("an exported ledger ends within an entry")
		}
		events = append(events, slices.Clone(b[4:4+n]))
		b = b[4+n:]
	}
	return events, nil
}

// Snapshot returns the whole state as an exported ledger: the state is a
// function of its entries.
func (m *Machine) Snapshot() []byte { return Export(m.events) }

// Restore replaces the state by a snapshot's, after verifying all of it. On an
// error the machine is unchanged. Claims are forgotten.
func (m *Machine) Restore(snapshot []byte) error {
	events, err := Import(snapshot)
	if err != nil {
		return err
	}
	restored, err := Replay(events)
	if err != nil {
		return err
	}
	*m = *restored
	return nil
}
