package pgtest

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

// The superuser, password and database of SharedTLS. The password is one that not every parser of
// connection strings survives.
const (
	TLSUser     = "lwe-admin"
	TLSPassword = "y5268[695t-13htgq244t5thj[8q9grq"
	TLSDatabase = "ai_workflow_engine"
)

// startTimeout bounds how long a server may take to start, on a machine that is busy with other
// tests.
const startTimeout = 2 * time.Minute

// Cluster is a server for tests.
type Cluster struct {
	*pgserver.Server
	shared   bool
	sessions sessionCounter

	mu    sync.Mutex
	admin *pgx.Conn // for our own questions; nil when there was none, or the last one broke
}

// shared is a server that is started on first use, and stopped by Main.
type shared struct {
	opts pgserver.Options
	once sync.Once
	c    *Cluster
	err  error
}

var (
	// Tests run in parallel, on as many cores as there are.
	plain = shared{opts: pgserver.Options{Settings: map[string]string{"max_connections": "400"}}}
	tls   = shared{opts: pgserver.Options{
		Auth:        pgserver.SCRAM,
		TLS:         true,
		User:        TLSUser,
		Password:    TLSPassword,
		Database:    TLSDatabase,
		ServerNames: []string{"postgres"},
	}}
	clientCert = shared{opts: pgserver.Options{Auth: pgserver.ClientCert}}
)

// Shared returns the test process's plain server: trust authentication, no TLS, superuser
// "postgres". Tests that share it must leave it running, and work in a Database of their own.
func Shared(tb testing.TB) *Cluster {
	tb.Helper()
	return plain.get(tb)
}

// SharedTLS returns the test process's server with TLS and SCRAM authentication, superuser TLSUser
// with TLSPassword, and the database TLSDatabase. It takes connections without TLS too. As with
// Shared, it must be left running.
func SharedTLS(tb testing.TB) *Cluster {
	tb.Helper()
	return tls.get(tb)
}

// ClientCert returns the test process's server that asks TCP connections for a client certificate.
// As with Shared, it must be left running. (*Cluster).ClientCert makes certificates; its URI has
// one of the superuser "postgres".
func ClientCert(tb testing.TB) *Cluster {
	tb.Helper()
	return clientCert.get(tb)
}

// New starts a server of the test's own, which it may do everything with. It is stopped when the
// test ends; if the test failed, the end of the server's log is shown. Connections are logged, on
// top of what opts say.
func New(tb testing.TB, opts pgserver.Options) *Cluster {
	tb.Helper()
	c, err := start(opts)
	if err != nil {
		tb.Fatal(err)
	}
	c.stopWith(tb)
	return c
}

// Standby starts a replica of primary, as pgserver's Standby does, and stops it when the test ends.
func Standby(tb testing.TB, primary *Cluster) *Cluster {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c := &Cluster{}
	var err error
	c.Server, err = primary.Server.Standby(ctx, pgserver.StandbyOptions{OnLog: c.sessions.onLog})
	if err != nil {
		tb.Fatal(err)
	}
	c.stopWith(tb)
	return c
}

func (s *shared) get(tb testing.TB) *Cluster {
	tb.Helper()
	if !mainRuns.Load() {
		tb.Fatal("pgtest: a shared server needs func TestMain(m *testing.M) { pgtest.Main(m) } to stop it")
	}
	s.once.Do(func() {
		s.c, s.err = start(s.opts)
		if s.err == nil {
			s.c.shared = true
		}
	})
	if s.err != nil {
		tb.Fatal(s.err)
	}
	return s.c
}

// stopShared runs after all tests, so no get is under way.
func stopShared() error {
	var err error
	for _, s := range []*shared{&plain, &tls, &clientCert} {
		if s.c != nil {
			err = errors.Join(err, s.c.stop())
		}
	}
	return err
}

func start(opts pgserver.Options) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c := &Cluster{}
	settings := maps.Clone(opts.Settings)
	if settings == nil {
		settings = map[string]string{}
	}
	settings["log_connections"] = "on" // Sessions counts by them
	opts.Settings = settings
	onLog := opts.OnLog
	opts.OnLog = func(line string) {
		c.sessions.onLog(line)
		if onLog != nil {
			onLog(line)
		}
	}
	var err error
	if c.Server, err = pgserver.Start(ctx, opts); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cluster) stopWith(tb testing.TB) {
	tb.Cleanup(func() {
		if tb.Failed() {
			log := c.Log()
			tb.Logf("the server's log ends with:\n%s", log[max(0, len(log)-8<<10):])
		}
		if err := c.stop(); err != nil {
			tb.Errorf("pgtest: stopping the server: %v", err)
		}
	})
}

func (c *Cluster) stop() error {
	c.closeAdmin()
	return c.Stop(pgserver.Immediate)
}
