package bus

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/dploda/dploda/internal/wire"
)

// Credentials let one worker connect. The seed is a secret: hand credentials to
// another process through its standard input or a file of mode 0600, never on
// its command line.
type Credentials struct {
	URL    string `json:"url"` // empty for connections in process only
	Run    string `json:"run"`
	Worker string `json:"worker"`
	Seed   string `json:"seed"`
}

// String hides the seed.
func (c Credentials) String() string { return "credentials of worker " + c.Worker }

// GoString hides the seed from %#v.
func (c Credentials) GoString() string { return c.String() }

// LogValue hides the seed from structured logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Write writes the credentials, for a pipe to a worker's standard input.
func (c Credentials) Write(w io.Writer) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// WriteFile writes the credentials to a new file that only its owner can read.
func (c Credentials) WriteFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("worker credentials: %w", err)
	}
	return errors.Join(c.Write(f), f.Close())
}

// maxCredentials is far above any credentials' length.
const maxCredentials = 4096

// ReadCredentials reads what Write wrote.
func ReadCredentials(r io.Reader) (Credentials, error) {
	line, err := readLine(r)
	if err != nil {
		return Credentials{}, fmt.Errorf("worker credentials: %w", err)
	}
	var c Credentials
	if err := json.Unmarshal(line, &c); err != nil {
		return Credentials{}, errors.New("worker credentials: not what dploda wrote") // the cause might quote the seed
	}
	if !wire.ValidName(c.Worker) || !wire.ValidName(c.Run) {
		return Credentials{}, errors.New("worker credentials: they name no worker or no run")
	}
	if _, err := nkeys.FromSeed([]byte(c.Seed)); err != nil {
		return Credentials{}, errors.New("worker credentials: they hold no valid key")
	}
	return c, nil
}

// readLine reads up to the end of a line and not beyond, so that a worker can
// go on watching its standard input for the end of its parent.
func readLine(r io.Reader) ([]byte, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxCredentials {
		n, err := r.Read(one)
		if n == 1 {
			if one[0] == '\n' {
				return line, nil
			}
			line = append(line, one[0])
		}
		if err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("longer than %d bytes", maxCredentials)
}

// users is who may connect. It is the server's authenticator, so that users can
// be added while the server runs.
type users struct {
	account *server.Account

	mu     sync.Mutex
	byKey  map[string]user // public nkey
	worker map[string]bool // names in use
}

type user struct {
	worker      string // empty for the server's own users
	account     *server.Account
	permissions *server.Permissions // nil allows all
}

func newUsers() *users {
	return &users{byKey: map[string]user{}, worker: map[string]bool{}}
}

func (u *users) add(key nkeys.KeyPair, entry user) error {
	public, err := key.PublicKey()
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if entry.worker != "" && u.worker[entry.worker] {
		return fmt.Errorf("worker name %q is taken", entry.worker)
	}
	u.byKey[public] = entry
	u.worker[entry.worker] = true
	return nil
}

func (u *users) find(public string) (user, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	entry, ok := u.byKey[public]
	return entry, ok
}

// Check implements server.Authentication: the client must have signed the
// connection's nonce with a known key.
func (u *users) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	entry, ok := u.find(o.Nkey)
	if !ok {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(o.Sig)
	if err != nil {
		return false
	}
	public, err := nkeys.FromPublicKey(o.Nkey)
	if err != nil || public.Verify(c.GetNonce(), sig) != nil {
		return false
	}
	c.RegisterUser(&server.User{Account: entry.account, Permissions: entry.permissions})
	return true
}

// AddWorker makes a user for a worker of this name.
func (s *Server) AddWorker(name string) (Credentials, error) {
	if !wire.ValidName(name) {
		return Credentials{}, fmt.Errorf("worker name %q: use 1 to %d letters, digits, '-' or '_'", name, wire.MaxName)
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		return Credentials{}, err
	}
	subjects := wire.Subjects{Run: s.run}
	err = s.users.add(key, user{worker: name, account: s.users.account, permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: subjects.Publishes(name)},
		Subscribe: &server.SubjectPermission{Allow: subjects.Subscribes(name)},
	}})
	if err != nil {
		return Credentials{}, err
	}
	seed, err := key.Seed()
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{URL: s.URL(), Run: s.run, Worker: name, Seed: string(seed)}, nil
}
