package failure_test

import (
	"context"
	"errors"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// TestRefusedSettings pins what a real server answers to a login with a setting that it does not
// take.
func TestRefusedSettings(t *testing.T) {
	cluster := pgtest.Shared(t)
	admin := cluster.Admin(t)
	for _, sql := range []string{"drop role if exists plain", "create role plain login"} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name       string
		key, value string
		state      string
		kind       failure.Kind
	}{
		{"a value that the setting does not take is of kind config",
			"work_mem", "lots", sqlstate.InvalidParameterValue, failure.Config},
		{"a value out of range is of kind config",
			"statement_timeout", "-5", sqlstate.InvalidParameterValue, failure.Config},
		{"an unknown time zone is of kind config",
			"timezone", "Nowhere/Here", sqlstate.InvalidParameterValue, failure.Config},
		{"an unknown role is of kind config",
			"role", "nobody_here", sqlstate.InvalidParameterValue, failure.Config},
		{"an unknown setting is of kind config",
			"no_such_setting", "1", sqlstate.UndefinedObject, failure.Config},
		{"an unknown setting in options is of kind config",
			"options", "-c no_such_setting=1", sqlstate.UndefinedObject, failure.Config},
		{"options that the server cannot read are of kind config", "options", "-?", sqlstate.SyntaxError, failure.Config},
		{"a setting that only a start of the server changes is of kind config",
			"shared_buffers", "1MB", sqlstate.CantChangeRuntimeParam, failure.Config},
		{"an encoding without a conversion is of kind config",
			"client_encoding", "MULE_INTERNAL", sqlstate.FeatureNotSupported, failure.Config},
		{"a setting that only superusers may set is of kind auth",
			"log_statement", "all", sqlstate.InsufficientPrivilege, failure.Auth},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := login(t, cluster.URI("postgres"), func(config *pgx.ConnConfig) {
				config.User = "plain"
				config.RuntimeParams[c.key] = c.value
			})
			check.Equal(t, sqlstate.Of(err), c.state)
			check.Equal(t, failure.Of(err), c.kind)
		})
	}
}

func TestMissingRight(t *testing.T) {
	cluster := pgtest.Shared(t)
	uri := cluster.Database(t)
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	admin := cluster.Admin(t)
	for _, sql := range []string{
		"drop role if exists stranger", "create role stranger login",
		"revoke connect on database " + u.Path[1:] + " from public",
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a login without the right to connect is of kind auth", func(t *testing.T) {
		err := login(t, uri, func(config *pgx.ConnConfig) { config.User = "stranger" })
		check.Equal(t, sqlstate.Of(err), sqlstate.InsufficientPrivilege)
		check.Equal(t, failure.Of(err), failure.Auth)
	})
	t.Run("a statement without the right to run is of kind auth", func(t *testing.T) {
		_, err := admin.Exec(t.Context(), "set role stranger; create role forbidden")
		check.Equal(t, sqlstate.Of(err), sqlstate.InsufficientPrivilege)
		check.Equal(t, failure.Of(err), failure.Auth)
	})
}

func TestAStatementsErrorIsNotASetting(t *testing.T) {
	admin := pgtest.Shared(t).Admin(t)
	for name, sql := range map[string]string{
		"a statement with a syntax error is of kind other": "selec 1",
		"SET with a wrong value is of kind other":          "set work_mem = 'lots'",
		"SET of an unknown setting is of kind other":       "set no_such_setting = 1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := admin.Exec(t.Context(), sql)
			check.Equal(t, failure.Of(err), failure.Other)
		})
	}
}

func TestMissingRole(t *testing.T) {
	cluster := pgtest.Shared(t)
	standby := pgtest.New(t, pgserver.Options{})
	readOnly := cluster.Database(t)
	u, err := url.Parse(readOnly)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Admin(t).Exec(t.Context(), "alter database "+u.Path[1:]+" set default_transaction_read_only = on")
	if err != nil {
		t.Fatal(err)
	}
	replica := pgtest.Standby(t, standby)
	for _, c := range []struct {
		name, uri string
		validate  pgconn.ValidateConnectFunc
		is        error
	}{
		{"a primary where a standby is asked for is unavailable", cluster.URI("postgres"),
			pgconn.ValidateConnectTargetSessionAttrsStandby, pgconn.ErrPrimaryConnection},
		{"a server that takes writes where a read-only one is asked for is unavailable", cluster.URI("postgres"),
			pgconn.ValidateConnectTargetSessionAttrsReadOnly, pgconn.ErrReadWriteConnection},
		{"a read-only server where one that takes writes is asked for is unavailable", readOnly,
			pgconn.ValidateConnectTargetSessionAttrsReadWrite, pgconn.ErrReadOnlyConnection},
		{"a standby where a primary is asked for is unavailable", replica.URI("postgres"),
			pgconn.ValidateConnectTargetSessionAttrsPrimary, pgconn.ErrStandbyConnection},
		{"a server that the application's own check refuses is unavailable", cluster.URI("postgres"),
			func(context.Context, *pgconn.PgConn) error { return errLag }, errLag},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := login(t, c.uri, func(config *pgx.ConnConfig) { config.ValidateConnect = c.validate })
			check.Equal(t, errors.Is(err, c.is), true)
			check.Equal(t, failure.IsRole(err), true)
			check.Equal(t, failure.Of(err), failure.Unavailable)
		})
	}
}

var errLag = errors.New("the standby is too far behind")

// TestPgBouncer pins the words of the PgBouncer that is installed.
func TestPgBouncer(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings map[string]string
		change   func(*pgx.ConnConfig)
		kind     failure.Kind
		is       func(*pgconn.PgError) bool
	}{
		{"a setting that PgBouncer does not pass on is of kind config", nil,
			func(config *pgx.ConnConfig) { config.RuntimeParams["work_mem"] = "4MB" },
			failure.Config, failure.IsRefusedParameter},
		{"a PgBouncer without room asks to wait, and is unavailable", map[string]string{"max_client_conn": "0"},
			func(*pgx.ConnConfig) {}, failure.Unavailable, failure.IsPoolerWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			pooler := pgtest.PgBouncer(t, pgtest.Shared(t), pgserver.PgBouncerOptions{Settings: c.settings})
			err := login(t, pooler.URI("postgres"), c.change)
			pgErr, ok := errors.AsType[*pgconn.PgError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			check.Equal(t, c.is(pgErr), true)
			check.Equal(t, failure.Of(err), c.kind)
		})
	}
}

// login connects, and returns the error with which that fails.
func login(t *testing.T, uri string, change func(*pgx.ConnConfig)) error {
	t.Helper()
	config, err := pgx.ParseConfig(uri)
	if err != nil {
		t.Fatal(err)
	}
	change(config)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err == nil {
		_ = conn.Close(t.Context())
		t.Fatal("the server lets the client in")
	}
	return err
}
