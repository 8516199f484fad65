package bus

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"github.com/dploda/dploda/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var subjects = wire.Subjects{Run: "run1"}

func start(t *testing.T, o Options) *Server {
	t.Helper()
	o.Run = subjects.Run
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func worker(t *testing.T, s *Server, name string) Credentials {
	t.Helper()
	c, err := s.AddWorker(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dial(t *testing.T, d Dialer, name string) *Conn {
	t.Helper()
	c, err := d(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestMessagesOverBothTransports sends the largest message each way.
func TestMessagesOverBothTransports(t *testing.T) {
	s := start(t, Options{Listen: true})
	creds := worker(t, s, "w")
	for name, d := range map[string]Dialer{"in process": s.InProcess(creds), "tcp": creds.Dial} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, d, "data")
			boss := dial(t, s.Connect, "coordinator")
			up, err := boss.SubscribeSync(subjects.AllUp())
			if err != nil {
				t.Fatal(err)
			}
			down, err := c.SubscribeSync(subjects.Down("w", "s1"))
			if err != nil {
				t.Fatal(err)
			}
			if err := boss.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			big := bytes.Repeat([]byte("x"), wire.MaxMessage)
			if err := c.Publish(subjects.Up("w", "s1"), big); err != nil {
				t.Fatal(err)
			}
			if m, err := up.NextMsg(5 * time.Second); err != nil || len(m.Data) != len(big) {
				t.Fatalf("the coordinator got %v", err)
			}
			if err := boss.Publish(subjects.Down("w", "s1"), []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if m, err := down.NextMsg(5 * time.Second); err != nil || string(m.Data) != "hello" {
				t.Fatalf("the worker got %v", err)
			}
		})
	}
}

// TestAWorkerPublishesOnlyOnItsOwnSubjects also holds that a violation closes
// the worker's connection and reaches the coordinator's log.
func TestAWorkerPublishesOnlyOnItsOwnSubjects(t *testing.T) {
	log := &syncBuffer{c: make(chan string, 100)}
	s := start(t, Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	creds := worker(t, s, "w")
	boss := dial(t, s.Connect, "coordinator")
	all, err := boss.SubscribeSync("dp.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := boss.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{
		subjects.All(), subjects.Down("w", "s"), subjects.Up("v", "s"), subjects.Beat("v", "s"),
		subjects.Shard("v", 1, 0), subjects.Ring("v", "w", 1, 0), "dp.run2.up.w.s", "$SYS.REQ.SERVER.PING",
	} {
		c := dial(t, s.InProcess(creds), "data")
		if err := c.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-c.Closed():
			if cause := c.Cause().Error(); !strings.Contains(cause, "ermissions violation") {
				t.Errorf("%s: closed because of %s", subject, cause)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the connection stayed open", subject)
		}
		log.wait(t, "Publish Violation")
	}
	if m, err := all.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("a forbidden message was delivered on %s", m.Subject)
	}
	own := dial(t, s.InProcess(creds), "data")
	for _, subject := range []string{
		subjects.Up("w", "s"), subjects.Beat("w", "s"), subjects.Shard("w", 1, 0), subjects.Ring("w", "v", 1, 0),
	} {
		if err := own.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if m, err := all.NextMsg(5 * time.Second); err != nil || m.Subject != subject {
			t.Errorf("%s was not delivered: %v", subject, err)
		}
	}
}

func TestAWorkerHearsOnlyItsOwnSubjects(t *testing.T) {
	s := start(t, Options{})
	creds := worker(t, s, "w")
	for _, subject := range []string{
		"dp.>", subjects.Down("v", "s"), subjects.AllUp(), subjects.AllShards(), subjects.RingTo("v"), subjects.Ring("v", "*", 1, 0), disconnects,
	} {
		c := dial(t, s.InProcess(creds), "data")
		if _, err := c.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		select {
		case <-c.Closed():
		case <-time.After(5 * time.Second):
			t.Errorf("%s: could be subscribed to", subject)
		}
	}
	own := dial(t, s.InProcess(creds), "data")
	for _, subject := range []string{subjects.Down("w", "s"), subjects.All(), subjects.RingTo("w")} {
		if _, err := own.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	if err := own.Flush(); err != nil || own.LastError() != nil {
		t.Errorf("own subjects refused: %v, %v", err, own.LastError())
	}
}

func TestStrangersAreRefused(t *testing.T) {
	s := start(t, Options{Listen: true})
	other := start(t, Options{})
	stranger := worker(t, other, "w")
	stranger.URL = s.URL()
	if _, err := stranger.Dial("data"); err == nil || err.Error() != "the message bus refused this key; is it of another run?" {
		t.Errorf("a key of another server: %v", err)
	}
	if _, err := (Credentials{}).Dial("data"); err == nil {
		t.Error("empty credentials connected")
	}
	raw, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	fmt.Fprintf(raw, "CONNECT {\"verbose\":false}\r\nPUB dp.run1.all 1\r\nx\r\n")
	reply := make([]byte, 8192)
	_ = raw.SetReadDeadline(time.Now().Add(5 * time.Second))
	for got := ""; !strings.Contains(got, "Authorization Violation"); {
		n, err := raw.Read(reply)
		if err != nil {
			t.Fatalf("no refusal of a client without a key: %v", err)
		}
		got += string(reply[:n])
	}
}

// impostor claims one public key and signs with another.
type impostor struct {
	nkeys.KeyPair
	claim string
}

func (i impostor) PublicKey() (string, error) { return i.claim, nil }

func TestAKnownPublicKeyIsNotEnough(t *testing.T) {
	s := start(t, Options{Listen: true})
	key, err := nkeys.FromSeed([]byte(worker(t, s, "w").Seed))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(s.URL(), "data", impostor{other, public}); err == nil {
		t.Error("a signature of another key was accepted")
	}
	if c, err := connect(s.URL(), "data", impostor{key, public}); err != nil {
		t.Errorf("the right signature was refused: %v", err)
	} else {
		c.Close()
	}
}

func TestANameIsGivenOnce(t *testing.T) {
	s := start(t, Options{})
	worker(t, s, "w")
	if _, err := s.AddWorker("w"); err == nil || err.Error() != `worker name "w" is taken` {
		t.Errorf("got %v", err)
	}
	if _, err := s.AddWorker("a b"); err == nil {
		t.Error("a name with a space was accepted")
	}
	if _, err := Start(Options{Run: "a.b"}); err == nil {
		t.Error("a run with a dot was accepted")
	}
}

func TestAPortInUseIsOneSentence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = Start(Options{Run: "r", Listen: true, Port: port})
	want := fmt.Sprintf("port %d of 127.0.0.1 cannot be used for the message bus", port)
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %q…", err, want)
	}
}

func TestNothingListensUnlessAsked(t *testing.T) {
	if url := start(t, Options{}).URL(); url != "" {
		t.Errorf("listens at %s", url)
	}
	if url := start(t, Options{Listen: true}).URL(); !strings.HasPrefix(url, "nats://127.0.0.1:") {
		t.Errorf("listens at %s", url)
	}
}

func TestDisconnectionsAreReported(t *testing.T) {
	s := start(t, Options{Listen: true})
	creds := worker(t, s, "w")
	gone := make(chan Disconnect, 1)
	watch, err := s.WatchDisconnects(func(d Disconnect) { gone <- d })
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for name, d := range map[string]Dialer{"a": s.InProcess(creds), "b": creds.Dial} {
		dial(t, d, name).Close()
		select {
		case got := <-gone:
			if got != (Disconnect{Worker: "w", Name: name}) {
				t.Errorf("got %+v", got)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no disconnection was reported")
		}
	}
}

func TestShutdownClosesConnections(t *testing.T) {
	s := start(t, Options{Listen: true})
	c := dial(t, worker(t, s, "w").Dial, "data")
	s.Shutdown()
	select {
	case <-c.Closed():
	case <-time.After(5 * time.Second):
		t.Fatal("the connection outlived the server")
	}
	if c.Cause() == nil {
		t.Error("closed without a cause")
	}
	if err := c.Publish(subjects.Up("w", "s"), nil); err == nil {
		t.Error("a publish on a closed connection was accepted silently")
	}
}

func TestCredentialsTravelByFileOrPipe(t *testing.T) {
	s := start(t, Options{Listen: true})
	creds := worker(t, s, "w")
	path := filepath.Join(t.TempDir(), "w.creds")
	if err := creds.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := creds.WriteFile(path); err == nil {
		t.Error("an existing file was overwritten")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := ReadCredentials(f)
	if err != nil || got != creds {
		t.Errorf("got %v, %v", got, err)
	}
	in := strings.NewReader(readFile(t, path) + "rest")
	if _, err := ReadCredentials(in); err != nil || in.Len() != len("rest") {
		t.Errorf("reading went %d bytes beyond the line: %v", len("rest")-in.Len(), err)
	}
}

func TestBadCredentialsAreRefusedWithoutQuotingThem(t *testing.T) {
	for name, text := range map[string]string{
		"empty":     "",
		"no end":    `{"run":"r","worker":"w","seed":"SECRET"}`,
		"no JSON":   "SECRET\n",
		"no worker": `{"run":"r","seed":"SECRET"}` + "\n",
		"no key":    `{"run":"r","worker":"w","seed":"SECRET"}` + "\n",
		"long":      strings.Repeat("SECRET", 2000) + "\n",
	} {
		_, err := ReadCredentials(strings.NewReader(text))
		if err == nil || strings.Contains(err.Error(), "SECRET") || !strings.HasPrefix(err.Error(), "worker credentials: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := Credentials{Worker: "w", Seed: "SECRET"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, c); strings.Contains(s, "SECRET") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// syncBuffer is a log that can be waited for.
type syncBuffer struct{ c chan string }

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.c <- string(p)
	return len(p), nil
}

func (b *syncBuffer) wait(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		select {
		case line := <-b.c:
			if strings.Contains(line, text) {
				return
			}
		case <-deadline:
			t.Fatalf("the log never said %q", text)
		}
	}
}
