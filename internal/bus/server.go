// Package bus is the message bus of a run: an embedded NATS server, its users,
// and connections to it.
//
// Every user has an nkey. A worker's user may publish only on the subjects that
// carry its own name and hear only what is meant for it (wire.Subjects); the
// coordinator's user may do all. Goroutines connect in process, other processes
// of this machine over the loopback interface; the server listens nowhere else,
// because its traffic is neither encrypted nor sealed.
package bus

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/dploda/dploda/internal/wire"
)

const (
	account      = "dploda"
	startTimeout = 10 * time.Second

	// A peer that vanished without closing its connection is noticed after
	// (maxPings+1) intervals; NATS' own default takes minutes.
	pingInterval = 2 * time.Second
	maxPings     = 2

	// maxPending bounds what the server buffers for one connection. The largest
	// burst is a whole exact sum on its way to the coordinator, which no credit
	// window slows down; beyond the bound the server would drop the connection.
	maxPending = 512 << 20

	maxPayload = wire.MaxMessage + 4096
)

// Options configure a Server.
type Options struct {
	Run    string       // token of the run's subjects, wire.ValidName
	Listen bool         // accept other processes on 127.0.0.1; else no port is opened
	Port   int          // 0 chooses a free one
	Logger *slog.Logger // the server's warnings and errors, permission violations included; nil drops them
}

// Server is an embedded NATS server.
type Server struct {
	run         string
	nats        *server.Server
	users       *users
	coordinator nkeys.KeyPair
	system      nkeys.KeyPair
	down        sync.Once
}

// Start starts a server.
func Start(o Options) (*Server, error) {
	if !wire.ValidName(o.Run) {
		return nil, fmt.Errorf("%q cannot name a run on the message bus", o.Run)
	}
	if o.Listen && o.Port != 0 {
		if err := portIsFree(o.Port); err != nil {
			return nil, err
		}
	}
	s := &Server{run: o.Run, users: newUsers()}
	n, err := server.NewServer(serverOptions(o, s.users))
	if err != nil {
		return nil, fmt.Errorf("the message bus cannot start: %w", err)
	}
	if o.Logger != nil {
		n.SetLoggerV2(logger{o.Logger}, false, false, false)
	}
	s.nats = n
	if err := s.admitOwn(); err != nil {
		return nil, err
	}
	n.Start()
	if !n.ReadyForConnections(startTimeout) {
		s.Shutdown()
		return nil, fmt.Errorf("the message bus was not ready within %v", startTimeout)
	}
	return s, nil
}

func serverOptions(o Options, auth server.Authentication) *server.Options {
	work, system := server.NewAccount(account), server.NewAccount("system")
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return &server.Options{
		ServerName:                 "dploda-" + o.Run,
		Host:                       "127.0.0.1",
		Port:                       port,
		DontListen:                 !o.Listen,
		NoSigs:                     true, // else it calls os.Exit on a signal
		NoLog:                      o.Logger == nil,
		Accounts:                   []*server.Account{work, system},
		SystemAccount:              system.Name,
		CustomClientAuthentication: auth,
		AlwaysEnableNonce:          true, // what users sign to prove their key
		MaxPayload:                 maxPayload,
		MaxPending:                 maxPending,
		PingInterval:               pingInterval,
		MaxPingsOut:                maxPings,
	}
}

// portIsFree turns the server's silence about a port in use into a sentence.
func portIsFree(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("port %d of 127.0.0.1 cannot be used for the message bus (%w); choose another, or 0 for any free one", port, err)
	}
	return l.Close()
}

// admitOwn makes the coordinator's user and the one that hears the server's own
// events.
func (s *Server) admitOwn() error {
	var err error
	if s.coordinator, err = nkeys.CreateUser(); err != nil {
		return err
	}
	if s.system, err = nkeys.CreateUser(); err != nil {
		return err
	}
	system, err := s.nats.LookupAccount("system") // the server's own copies
	if err != nil {
		return fmt.Errorf("the message bus has no system account: %w", err)
	}
	work, err := s.nats.LookupAccount(account)
	if err != nil {
		return fmt.Errorf("the message bus has no account for the run: %w", err)
	}
	s.users.account = work
	if err := s.users.add(s.coordinator, user{account: work}); err != nil {
		return err
	}
	return s.users.add(s.system, user{account: system, permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: []string{">"}},
		Subscribe: &server.SubjectPermission{Allow: []string{disconnects}},
	}})
}

// Run is the token of the run's subjects.
func (s *Server) Run() string { return s.run }

// URL is where other processes of this machine connect; empty when the server
// does not listen.
func (s *Server) URL() string {
	if addr := s.nats.Addr(); addr != nil {
		return "nats://" + addr.String()
	}
	return ""
}

// Shutdown closes all connections and returns when every goroutine of the
// server has ended. It may be called more than once.
func (s *Server) Shutdown() {
	s.down.Do(func() {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	})
}

// logger passes the server's warnings and errors on.
type logger struct{ to *slog.Logger }

func (l logger) Noticef(string, ...any) {}
func (l logger) Debugf(string, ...any)  {}
func (l logger) Tracef(string, ...any)  {}
func (l logger) Warnf(format string, v ...any) {
	l.to.Warn("message bus: " + fmt.Sprintf(format, v...))
}
func (l logger) Errorf(format string, v ...any) {
	l.to.Error("message bus: " + fmt.Sprintf(format, v...))
}
func (l logger) Fatalf(format string, v ...any) { l.Errorf(format, v...) }
