package pgsafe_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestProfiles(t *testing.T) {
	for _, c := range []struct {
		name                string
		kept, limit, warmed int32
		acquire             time.Duration
		sameAs              pgsafe.Profile
	}{
		{"development", 5, 15, 0, 30 * time.Second, pgsafe.DevelopmentProfile()},
		{"production", 20, 50, 20, 5 * time.Second, pgsafe.ProductionProfile()},
		{"auth", 2, 7, 0, 2 * time.Second, pgsafe.AuthProfile()},
		{"", 0, 0, 0, 0, pgsafe.Profile{}},
	} {
		name := fmt.Sprintf("the profile %q keeps %d connections and allows %d", c.name, c.kept, c.limit)
		t.Run(name, func(t *testing.T) {
			named, err := pgsafe.NewPoolConfig("host=h pool_profile=" + c.name)
			check.OK(t, err)
			inCode, err := pgsafe.NewPoolConfig("host=h", pgsafe.WithProfile(c.sameAs))
			check.OK(t, err)
			check.Equal(t, named.MaxConns, inCode.MaxConns)
			check.Equal(t, named.MaxConnLifetime, inCode.MaxConnLifetime)
			p := c.sameAs
			check.Equal(t, p.MinIdleConns, c.kept)
			check.Equal(t, p.MaxConns, c.limit)
			check.Equal(t, p.WarmUp, c.warmed)
			check.Equal(t, p.AcquireTimeout, c.acquire)
		})
	}
	t.Run("an unknown profile is refused", func(t *testing.T) {
		_, err := pgsafe.NewConnector("host=h pool_profile=Production")
		var dsnErr *pgsafe.DSNError
		check.Equal(t, errors.As(err, &dsnErr), true)
		check.Equal(t, dsnErr.Part, "pool_profile")
	})
}

func TestPoolKeys(t *testing.T) {
	poolConfigOf := func(t *testing.T, params ...string) *pgxpool.Config {
		config, err := pgsafe.NewPoolConfig(with("postgres://u@127.0.0.1:1/db", params...))
		check.OK(t, err)
		return config
	}
	t.Run("each pool key sets its number", func(t *testing.T) {
		p := poolConfigOf(t, "pool_max_conns=9", "pool_min_conns=0", "pool_max_conn_lifetime=1h30m",
			"pool_max_conn_lifetime_jitter=7s", "pool_max_conn_idle_time=11m", "pool_health_check_period=13s",
			"pool_ping_timeout=3s")
		check.Equal(t, p.MaxConns, 9)
		check.Equal(t, p.MaxConnLifetime, 90*time.Minute)
		check.Equal(t, p.MaxConnLifetimeJitter, 7*time.Second)
		check.Equal(t, p.MaxConnIdleTime, 11*time.Minute)
		check.Equal(t, p.HealthCheckPeriod, 13*time.Second)
		check.Equal(t, p.PingTimeout, 3*time.Second)
	})
	t.Run("a pool without keys has no cap and closes connections that are idle for 30 s", func(t *testing.T) {
		p := poolConfigOf(t)
		check.Equal(t, p.MaxConns, math.MaxInt32-1)
		check.Equal(t, p.MinConns, 0)
		check.Equal(t, p.MaxConnIdleTime, 30*time.Second)
		check.Equal(t, p.MaxConnLifetime, time.Hour)
		check.Equal(t, p.HealthCheckPeriod, 10*time.Second)
		check.Equal(t, p.PingTimeout, 5*time.Second)
	})
	t.Run("pool keys adjust a profile that stands before or after them", func(t *testing.T) {
		p := poolConfigOf(t, "pool_max_conns=30", "pool_profile=production", "pool_min_idle_conns=0")
		check.Equal(t, p.MaxConns, 30)
		check.Equal(t, p.MinConns, 0)
		check.Equal(t, p.MaxConnLifetime, 30*time.Minute)
	})
	t.Run("a cap below the floor of a profile lowers the floor too", func(t *testing.T) {
		p := poolConfigOf(t, "pool_profile=production", "pool_max_conns=4")
		check.Equal(t, p.MaxConns, 4)
		check.Equal(t, p.MinConns, 4)
	})
	t.Run("the greater of pool_min_conns and pool_min_idle_conns counts", func(t *testing.T) {
		check.Equal(t, poolConfigOf(t, "pool_min_conns=3", "pool_min_idle_conns=2").MinConns, 3)
	})
	t.Run("a dial may take 10 s unless the string or the environment sets another time", func(t *testing.T) {
		t.Setenv("PGCONNECT_TIMEOUT", "") // registers the cleanup; an empty value is none
		check.Equal(t, poolConfigOf(t).ConnConfig.ConnectTimeout, 10*time.Second)
		check.Equal(t, poolConfigOf(t, "connect_timeout=3").ConnConfig.ConnectTimeout, 3*time.Second)
		check.Equal(t, poolConfigOf(t, "connect_timeout=0").ConnConfig.ConnectTimeout, 0)
		t.Setenv("PGCONNECT_TIMEOUT", "4")
		check.Equal(t, poolConfigOf(t).ConnConfig.ConnectTimeout, 4*time.Second)
	})
	t.Run("pool_reset and Profile.Reset take the known values only", func(t *testing.T) {
		for _, value := range []string{"leftovers", "always", "close"} {
			_, err := pgsafe.NewConnector("host=h pool_reset=" + value)
			check.OK(t, err)
		}
		for _, reset := range []pgsafe.SessionReset{pgsafe.ResetLeftovers, pgsafe.ResetAlways, pgsafe.ResetClose} {
			_, err := pgsafe.NewConnector("host=h", pgsafe.WithProfile(pgsafe.Profile{Reset: reset}))
			check.OK(t, err)
		}
		_, keyErr := pgsafe.NewConnector("host=h pool_reset=Close")
		_, fieldErr := pgsafe.NewConnector("host=h", pgsafe.WithProfile(pgsafe.Profile{Reset: pgsafe.ResetClose + 1}))
		for part, err := range map[string]error{"pool_reset": keyErr, "Profile": fieldErr} {
			dsnErr, ok := errors.AsType[*pgsafe.DSNError](err)
			check.Equal(t, ok && dsnErr.Part == part, true)
		}
	})
	t.Run("driver keys reach pgx", func(t *testing.T) {
		cc := poolConfigOf(t, "default_query_exec_mode=exec", "statement_cache_capacity=7",
			"description_cache_capacity=8").ConnConfig
		check.Equal(t, cc.DefaultQueryExecMode.String(), "exec")
		check.Equal(t, cc.StatementCacheCapacity, 7)
		check.Equal(t, cc.DescriptionCacheCapacity, 8)
	})
	t.Run("server settings reach the server, and pgsafe's keys do not", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), "search_path=pg_catalog",
			"statement_timeout=1234", "application_name=orders", "pool_max_conns=3"))
		check.Equal(t, one[string](t, db, "show search_path"), "pg_catalog")
		check.Equal(t, one[string](t, db, "show statement_timeout"), "1234ms")
		check.Equal(t, one[string](t, db, "show application_name"), "orders")
	})
}

func TestLogger(t *testing.T) {
	const secret = "kX3[w9:Qz7"
	openLogged := func(t *testing.T, dsn string) (*sql.DB, *syncBuffer) {
		t.Helper()
		log := &syncBuffer{}
		db, err := pgsafe.Open(dsn, pgsafe.WithLogger(slog.New(slog.NewTextHandler(log, nil))), pgsafe.WithLogger(nil))
		check.OK(t, err)
		t.Cleanup(func() { check.OK(t, db.Close()) })
		return db, log
	}
	t.Run("a warning about the connection string is logged", func(t *testing.T) {
		_, log := openLogged(t, "postgres://u:"+secret+"@h/db?ssl=true")
		if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "part=ssl") {
			t.Errorf("got %q", got)
		}
		holdsNone(t, log.String(), secret)
	})
	t.Run("a warm-up that fails in the background is logged", func(t *testing.T) {
		dsn := fmt.Sprintf("postgres://u:%s@127.0.0.1:%d/db?pool_warmup=3", secret, pgtest.ClosedPort(t))
		db, log := openLogged(t, dsn)
		_ = db.PingContext(t.Context())
		pgtest.Eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "warm-up failed") })
		holdsNone(t, log.String(), secret)
	})
}

// syncBuffer is a buffer that one goroutine reads while another writes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
