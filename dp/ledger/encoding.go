package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dploda/dploda/dp/plan"
)

// entryMagic opens every entry; its number is the version of the format.
const entryMagic = "dploda ledger 2\n"

// Limits of one entry. They bound what a reader allocates.
const (
	MaxEntry  = 1 << 16
	maxName   = 200
	maxPhases = 64
)

const frame = len(entryMagic) + 1 + 16 + 32 + 32 // magic, kind, run, prev, and the seal

// Encode returns the canonical encoding of e: the magic, the kind, the run, the
// hash of the entry before, the fields in the order of the struct with
// big-endian integers and length-prefixed names, and the SHA-256 hash of all
// that. The last 32 bytes are the entry's hash, and the chain's head once it is
// accepted.
func Encode(e Entry) ([]byte, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	kind, run, prev := e.head()
	b := append([]byte(entryMagic), kind)
	b = append(b, run[:]...)
	b = append(b, prev[:]...)
	b = e.appendFields(b)
	if len(b)+32 > MaxEntry {
		return nil, fmt.Errorf("a ledger entry of %d bytes is longer than the %d allowed", len(b)+32, MaxEntry)
	}
	return seal(b), nil
}

// seal appends the hash of body to it.
func seal(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

// HashOf returns the hash with which an encoded entry ends.
func HashOf(raw []byte) Hash {
	var h Hash
	if len(raw) >= frame {
		copy(h[:], raw[len(raw)-32:])
	}
	return h
}

// errBeforeDomains: a ledger of the first version says nothing of domains, so
// that nothing can be charged to one.
var errBeforeDomains = errors.New("this ledger was begun by a version of dploda that kept no data domains, and cannot go on; begin a new one in another folder with --state")

// Decode reads what Encode wrote and nothing else: any changed, missing or
// additional byte is an error.
func Decode(raw []byte) (Entry, error) {
	if bytes.HasPrefix(raw, []byte("dploda ledger 1\n")) {
		return nil, errBeforeDomains
	}
	if len(raw) < frame || len(raw) > MaxEntry || string(raw[:len(entryMagic)]) != entryMagic {
		return nil, errors.New("these bytes are not a ledger entry of this version")
	}
	body := raw[:len(raw)-32]
	if sha256.Sum256(body) != [32]byte(raw[len(raw)-32:]) {
		return nil, errors.New("a ledger entry does not have the hash that it ends with: it was damaged or edited")
	}
	r := reader{b: body[len(entryMagic):]}
	e, err := r.entry()
	if err != nil {
		return nil, err
	}
	if len(r.b) != 0 {
		return nil, errors.New("a ledger entry has bytes after its last field")
	}
	if err := e.validate(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e Admit) appendFields(b []byte) []byte {
	b = appendName(b, e.Domain)
	b = append(b, e.Version[:]...)
	b = append(b, byte(e.Unit))
	b = append(b, e.Spec[:]...)
	b = appendBudget(b, e.Budget)
	b = append(b, boolByte(e.TestMode), byte(len(e.Phases)))
	for i, m := range e.Phases {
		enc, _ := m.MarshalBinary() // validate has encoded it before
		b = binary.BigEndian.AppendUint16(b, uint16(len(enc)))
		b = append(b, enc...)
		b = binary.BigEndian.AppendUint64(b, e.Costs[i])
	}
	return binary.BigEndian.AppendUint64(b, e.Declared)
}

func (e Register) appendFields(b []byte) []byte {
	b = appendName(b, e.Domain)
	b = appendBudget(b, e.Budget)
	b = binary.BigEndian.AppendUint32(b, uint32(e.Order))
	b = binary.BigEndian.AppendUint64(b, e.Limit)
	return append(b, byte(e.Unit), byte(e.Adjacency), boolByte(e.Public))
}

func (e Revise) appendFields(b []byte) []byte {
	b = appendName(b, e.Domain)
	b = appendBudget(b, e.Budget)
	b = binary.BigEndian.AppendUint64(b, e.Limit)
	return appendName(b, e.Reason)
}

func (e Attach) appendFields(b []byte) []byte {
	return append(appendName(b, e.Domain), e.Version[:]...)
}

func (e Close) appendFields(b []byte) []byte { return b }

func appendBudget(b []byte, x Budget) []byte {
	b = binary.BigEndian.AppendUint64(b, x.EpsilonMicro)
	b = binary.BigEndian.AppendUint64(b, x.DeltaNumerator)
	return append(b, x.DeltaExponent)
}

func (e Plan) appendFields(b []byte) []byte {
	b = appendName(b, e.Phase)
	b = binary.BigEndian.AppendUint64(b, e.Step)
	b = append(b, e.Nonce[:]...)
	b = appendName(b, e.Arithmetic)
	return append(b, e.State[:]...)
}

func (e Charge) appendFields(b []byte) []byte {
	b = append(b, e.Plan[:]...)
	return append(b, e.Charge[:]...)
}

func (e Commit) appendFields(b []byte) []byte {
	b = append(b, e.Plan[:]...)
	b = append(b, e.Charge[:]...)
	b = append(b, e.Blob[:]...)
	b = append(b, e.PrevState[:]...)
	return append(b, e.NewState[:]...)
}

func (e Complete) appendFields(b []byte) []byte { return appendName(b, e.Phase) }

func appendName(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// reader takes fields off the front of b. After the first failure it returns
// zeros, and err says what was missing.
type reader struct {
	b   []byte
	err error
}

func (r *reader) entry() (Entry, error) {
	kind := r.byte()
	run, prev := RunID(r.take(16)), Hash(r.take(32))
	var e Entry
	switch kind {
	case kindAdmit:
		e = r.admit(run, prev)
	case kindPlan:
		p := Plan{Run: run, Prev: prev, Phase: r.name(), Step: r.uint64(), Nonce: Nonce(r.take(16))}
		p.Arithmetic, p.State = r.name(), Hash(r.take(32))
		e = p
	case kindCharge:
		e = Charge{Run: run, Prev: prev, Plan: PlanID(r.take(32)), Charge: ChargeID(r.take(16))}
	case kindCommit:
		e = Commit{Run: run, Prev: prev, Plan: PlanID(r.take(32)), Charge: ChargeID(r.take(16)),
			Blob: Hash(r.take(32)), PrevState: Hash(r.take(32)), NewState: Hash(r.take(32))}
	case kindComplete:
		e = Complete{Run: run, Prev: prev, Phase: r.name()}
	case kindClose:
		e = Close{Run: run, Prev: prev}
	case kindRegister:
		e = Register{Prev: prev, Domain: r.name(), Budget: r.budget(), Order: Order(r.uint32()), Limit: r.uint64(),
			Unit: Unit(r.byte()), Adjacency: Adjacency(r.byte()), Public: r.bool()}
	case kindRevise:
		e = Revise{Prev: prev, Domain: r.name(), Budget: r.budget(), Limit: r.uint64(), Reason: r.name()}
	case kindAttach:
		e = Attach{Prev: prev, Domain: r.name(), Version: VersionID(r.take(16))}
	default:
		return nil, fmt.Errorf("a ledger entry has the unknown kind %d", kind)
	}
	if _, id, _ := e.head(); id != run {
		r.fail() // the entry of no run names one
	}
	return e, r.err
}

func (r *reader) admit(run RunID, prev Hash) Admit {
	e := Admit{Run: run, Prev: prev, Domain: r.name(), Version: VersionID(r.take(16)), Unit: Unit(r.byte()), Spec: Hash(r.take(32)),
		Budget: r.budget(), TestMode: r.bool()}
	for n := int(r.byte()); n > 0 && r.err == nil; n-- {
		size := r.take(2)
		enc := r.take(int(binary.BigEndian.Uint16(size)))
		var m plan.Mechanism
		if err := m.UnmarshalBinary(enc); err != nil {
			r.err = err
		}
		e.Phases, e.Costs = append(e.Phases, m), append(e.Costs, r.uint64())
	}
	e.Declared = r.uint64()
	return e
}

func (r *reader) budget() Budget {
	return Budget{EpsilonMicro: r.uint64(), DeltaNumerator: r.uint64(), DeltaExponent: r.byte()}
}

func (r *reader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail()
	}
	return v == 1
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errors.New("a ledger entry has the wrong length or an impossible field")
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail()
		r.b = nil
		return make([]byte, n)
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) name() string   { return string(r.take(int(r.byte()))) }
