package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const (
	dialTimeout = 5 * time.Second
	disconnects = "$SYS.ACCOUNT." + account + ".DISCONNECT"
)

// Conn is a connection that never reconnects and never drops a message
// silently: whatever goes wrong (the network, a message lost to a full buffer,
// a forbidden subject) closes it, and its owner starts anew. A message that
// could be lost unnoticed would let a ring wait for ever.
type Conn struct {
	*nats.Conn
	closed chan struct{}

	mu    sync.Mutex
	cause error
}

// Closed is closed when the connection is.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// Cause says in one clause why the connection closed.
func (c *Conn) Cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return errors.New("the connection to the message bus closed")
}

// fail closes the connection because of err.
func (c *Conn) fail(n *nats.Conn, err error) {
	c.note(err)
	go n.Close() // not in the goroutine that runs the client's callbacks
}

// note keeps the first cause.
func (c *Conn) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil && err != nil {
		c.cause = fmt.Errorf("message bus: %w", err)
	}
}

// Dialer opens one more connection of the same user, under a name for the
// server's events.
type Dialer func(name string) (*Conn, error)

// Dial connects over TCP.
func (c Credentials) Dial(name string) (*Conn, error) {
	if c.URL == "" {
		return nil, errors.New("these worker credentials hold no address; the message bus does not listen")
	}
	key, err := nkeys.FromSeed([]byte(c.Seed))
	if err != nil {
		return nil, errors.New("worker credentials: they hold no valid key")
	}
	return connect(c.URL, name, key)
}

// InProcess connects without a socket.
func (s *Server) InProcess(c Credentials) Dialer {
	return func(name string) (*Conn, error) {
		key, err := nkeys.FromSeed([]byte(c.Seed))
		if err != nil {
			return nil, errors.New("worker credentials: they hold no valid key")
		}
		return connect("", name, key, nats.InProcessServer(s.nats))
	}
}

// Connect opens a connection of the coordinator's user, in process.
func (s *Server) Connect(name string) (*Conn, error) {
	return connect("", name, s.coordinator, nats.InProcessServer(s.nats))
}

func connect(url, name string, key nkeys.KeyPair, more ...nats.Option) (*Conn, error) {
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	c := &Conn{closed: make(chan struct{})}
	n, err := nats.Connect(url, append([]nats.Option{
		nats.Name(name),
		nats.Nkey(public, key.Sign),
		nats.Timeout(dialTimeout),
		nats.NoReconnect(),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.ErrorHandler(func(n *nats.Conn, _ *nats.Subscription, err error) { c.fail(n, err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.note(err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
	}, more...)...)
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return nil, errors.New("the message bus refused this key; is it of another run?")
	case err != nil:
		return nil, fmt.Errorf("the message bus at %s cannot be reached: %w", where(url), err)
	}
	c.Conn = n
	return c, nil
}

func where(url string) string {
	if url == "" {
		return "this process"
	}
	return url
}

// Disconnect is the server's word that a connection of a worker ended.
type Disconnect struct {
	Worker string
	Name   string // of the connection
}

// WatchDisconnects calls f, from one goroutine, for every worker's connection
// that ends. It stops when the returned connection is closed.
func (s *Server) WatchDisconnects(f func(Disconnect)) (*Conn, error) {
	c, err := connect("", "disconnects", s.system, nats.InProcessServer(s.nats))
	if err != nil {
		return nil, err
	}
	_, err = c.Subscribe(disconnects, func(m *nats.Msg) {
		var e struct {
			Client struct{ User, Name string }
		}
		if json.Unmarshal(m.Data, &e) != nil {
			return
		}
		if u, ok := s.users.find(e.Client.User); ok && u.worker != "" {
			f(Disconnect{Worker: u.worker, Name: e.Client.Name})
		}
	})
	if err == nil {
		err = c.Flush()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("the message bus does not report disconnections: %w", err)
	}
	return c, nil
}
