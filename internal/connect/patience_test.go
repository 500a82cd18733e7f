package connect_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

const (
	timeout = 7 * time.Second // of connect_timeout, in these tests
	brief   = 3 * time.Second // where nothing has ever answered
)

// TestPatience has errors of the shape that pgconn makes of several servers.
func TestPatience(t *testing.T) {
	fresh := newFixture(t, with(pgtest.Shared(t).Database(t), "connect_timeout=7"), nil)
	known := newFixture(t, with(pgtest.Shared(t).Database(t), "connect_timeout=7"), nil)
	known.dial(t)
	refused, _ := newFixture(t, fmt.Sprintf("postgres://u@127.0.0.1:%d/db", pgtest.ClosedPort(t)), nil).fails(t)
	gone, _ := newFixture(t, "postgres://u@/db?host="+t.TempDir(), nil).fails(t)
	fatal := func(code string) error { return &pgconn.PgError{Severity: "FATAL", Code: code} }
	for _, c := range []struct {
		name         string
		err          error
		first, later time.Duration // before and after the first connection
	}{
		{"a server that starts is waited for", fatal(sqlstate.CannotConnectNow), timeout, timeout},
		{"a server that stops is waited for", fatal(sqlstate.AdminShutdown), timeout, timeout},
		{"a server that has crashed is waited for", fatal(sqlstate.CrashShutdown), timeout, timeout},
		{"a full server is waited for", fatal(sqlstate.TooManyConnections), timeout, timeout},
		{"a full PgBouncer is waited for", &pgconn.PgError{Severity: "FATAL", Code: sqlstate.ProtocolViolation,
			Message: "no more connections allowed (max_client_conn)"}, timeout, timeout},
		{"a closed port is waited for, briefly the first time", refused, brief, timeout},
		{"a missing socket is waited for where a server was", gone, 0, timeout},
		{"a missing primary is waited for where one was", pgconn.ErrStandbyConnection, 0, timeout},
		{"a missing writable server is waited for where one was", pgconn.ErrReadOnlyConnection, 0, timeout},
		{"a missing standby is waited for where one was", pgconn.ErrPrimaryConnection, 0, timeout},
		{"a missing read-only server is waited for where one was", pgconn.ErrReadWriteConnection, 0, timeout},
		{"a wrong password lasts", fatal(sqlstate.InvalidPassword), 0, 0},
		{"an unknown database lasts", fatal(sqlstate.InvalidCatalogName), 0, 0},
		{"a missing right lasts", fatal(sqlstate.InsufficientPrivilege), 0, 0},
		{"a refused setting lasts", fatal(sqlstate.InvalidParameterValue), 0, 0},
		{"a demand that is not met lasts", errors.New("server refused TLS connection"), 0, 0},
		{"of several servers, one that starts is waited for",
			errors.Join(errors.New("no"), fatal(sqlstate.CannotConnectNow)), timeout, timeout},
		{"of several servers, one that refuses the password outweighs the others",
			errors.Join(fatal(sqlstate.CannotConnectNow), refused, fatal(sqlstate.InvalidPassword)), 0, 0},
		{"another error lasts", errors.New("no"), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := fmt.Errorf("dial: %w", c.err)
			check.Equal(t, fresh.Patience(err), c.first)
			check.Equal(t, known.Patience(err), c.later)
		})
	}
	t.Run("an error of the application's function lasts, whatever it is", func(t *testing.T) {
		f := newFixture(t, pgtest.Shared(t).Database(t), func(o *connect.Options) {
			o.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return fatal(sqlstate.CannotConnectNow) }
		})
		_, raw := f.fails(t)
		check.Equal(t, f.Patience(raw), 0)
	})
	t.Run("without connect_timeout the patience is 10 s", func(t *testing.T) {
		f := newFixture(t, with(pgtest.Shared(t).Database(t), "connect_timeout=0"), nil)
		check.Equal(t, f.Patience(fatal(sqlstate.CannotConnectNow)), 10*time.Second)
	})
}

func TestPatienceWithAServer(t *testing.T) {
	t.Run("a server that has stopped is waited for", func(t *testing.T) {
		cluster := pgtest.New(t, pgserver.Options{})
		f := newFixture(t, with(cluster.URI("postgres"), "connect_timeout=7"), nil)
		f.dial(t)
		check.OK(t, cluster.Halt(pgserver.Fast))
		_, raw := f.fails(t)
		check.Equal(t, f.Patience(raw), timeout)
	})
	t.Run("a server without the role that is asked for was never there", func(t *testing.T) {
		f := newFixture(t, with(pgtest.Shared(t).URI("postgres"), "target_session_attrs=standby"), nil)
		explained, raw := f.fails(t)
		check.Equal(t, f.Patience(raw), 0)
		check.Equal(t, errors.Is(explained, pgconn.ErrPrimaryConnection), true)
	})
}
