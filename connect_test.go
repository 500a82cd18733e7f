package pgsafe_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// The parts of the connection string that caused the outage pgsafe began with.
const (
	briefUser     = "lwe-admin"
	briefPassword = "y5268[695t-13htgq244t5thj[8q9grq"
	briefDatabase = "ai_workflow_engine"
)

func briefDSN(port int) string {
	return fmt.Sprintf("postgresql+psycopg2://%s:%s@localhost:%d/%s?sslmode=require",
		briefUser, briefPassword, port, briefDatabase)
}

func TestTheStringOfTheOutage(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	for name, dsn := range map[string]string{
		"as it was written for SQLAlchemy": briefDSN(cluster.Port()),
		"without the driver's name":        strings.Replace(briefDSN(cluster.Port()), "+psycopg2", "", 1),
		"with the password encoded": fmt.Sprintf("postgres://%s:%s@localhost:%d/%s?sslmode=require",
			briefUser, url.QueryEscape(briefPassword), cluster.Port(), briefDatabase),
		"as key/value": fmt.Sprintf("host=localhost port=%d user=%s password='%s' dbname=%s sslmode=require",
			cluster.Port(), briefUser, briefPassword, briefDatabase),
	} {
		t.Run("the string of the outage reaches its server over TLS "+name, func(t *testing.T) {
			t.Parallel()
			db := open(t, pgsafe.DriverName, dsn)
			var user, database, version string
			var port int
			var tls bool
			check.OK(t, db.QueryRowContext(t.Context(), `
				select current_user, current_database(), inet_server_port(), ssl, version
				from pg_stat_ssl where pid = pg_backend_pid()`).Scan(&user, &database, &port, &tls, &version))
			check.Equal(t, user, briefUser)
			check.Equal(t, database, briefDatabase)
			check.Equal(t, port, cluster.Port())
			check.Equal(t, tls, true)
			check.Equal(t, strings.HasPrefix(version, "TLSv1."), true)
		})
	}
	t.Run("the string of the outage opens 10 sessions one by one and 10 at once", func(t *testing.T) {
		t.Parallel()
		for range 10 {
			db, err := sql.Open(pgsafe.DriverName, briefDSN(cluster.Port()))
			check.OK(t, err)
			check.OK(t, db.PingContext(t.Context()))
			check.OK(t, db.Close())
		}
		db := open(t, pgsafe.DriverName, briefDSN(cluster.Port()))
		holdAll(t, db, 10)
		check.Equal(t, statsOf(t, db).InUse, 10)
	})
}

// pgsafe exists for this reason: pgx accepts the string without an error, but for another server.
// It would send the password as the name of a setting. A server logs the name when it refuses it.
func TestPgxMisreadsTheStringOfTheOutage(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGUSER", "PGDATABASE", "PGSERVICE"} {
		t.Setenv(name, "")
	}
	config, err := pgx.ParseConfig(briefDSN(5432))
	check.OK(t, err)
	if config.User == briefUser || config.Database == briefDatabase {
		t.Error("pgx understands it by now: the README says otherwise")
	}
	sent := false
	for key := range config.RuntimeParams {
		sent = sent || strings.Contains(key, briefPassword)
	}
	check.Equal(t, sent, true)
}

func TestConnectErrors(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	const secret = "q7Zx[9f:Lk2@w8"
	base := fmt.Sprintf("localhost:%d", cluster.Port())
	silentHost, silentPort := pgtest.SilentListener(t)
	for _, c := range []struct {
		name  string
		dsn   string
		kind  pgsafe.Kind
		state string
	}{
		{"a wrong password",
			fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=require", briefUser, url.QueryEscape(secret), base, briefDatabase),
			pgsafe.KindAuth, "28P01"},
		{"an unknown role",
			fmt.Sprintf("postgres://no-such-role:%s@%s/%s?sslmode=require", url.QueryEscape(secret), base, briefDatabase),
			pgsafe.KindAuth, "28P01"},
		{"an unknown database",
			fmt.Sprintf("postgres://%s:%s@%s/nowhere?sslmode=require", briefUser, url.QueryEscape(briefPassword), base),
			pgsafe.KindConfig, "3D000"},
		{"a closed port", fmt.Sprintf("postgres://u:%s@127.0.0.1:%d/db", url.QueryEscape(secret), pgtest.ClosedPort(t)),
			pgsafe.KindUnavailable, ""},
		{"an unknown host", fmt.Sprintf("postgres://u:%s@no-such-host.invalid/db", url.QueryEscape(secret)),
			pgsafe.KindUnavailable, ""},
		{"a server that accepts and stays silent",
			fmt.Sprintf("postgres://u:%s@%s:%d/db?connect_timeout=1", url.QueryEscape(secret), silentHost, silentPort),
			pgsafe.KindTimeout, ""},
		{"a certificate of an unknown authority",
			fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=verify-full&sslrootcert=system",
				briefUser, url.QueryEscape(briefPassword), base, briefDatabase),
			pgsafe.KindConfig, ""},
	} {
		t.Run("the error for "+c.name+" is of kind "+c.kind.String(), func(t *testing.T) {
			t.Parallel()
			db := open(t, pgsafe.DriverName, c.dsn)
			err := db.PingContext(t.Context())
			check.Equal(t, pgsafe.KindOf(err), c.kind)
			check.Equal(t, pgsafe.SQLState(err), c.state)
			var pgErr *pgconn.PgError
			check.Equal(t, errors.As(err, &pgErr), c.state != "")
			noSecret(t, err, secret, briefPassword)
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %v", err)
			}
			if strings.Count(err.Error(), "dial error") > 1 {
				t.Errorf("the error repeats itself: %v", err)
			}
		})
	}
	t.Run("a connect error does not wrap pgconn's error, which holds the configuration", func(t *testing.T) {
		t.Parallel()
		db := open(t, pgsafe.DriverName,
			fmt.Sprintf("postgres://u:%s@127.0.0.1:%d/db", url.QueryEscape(secret), pgtest.ClosedPort(t)))
		var connectErr *pgconn.ConnectError
		check.Equal(t, errors.As(db.PingContext(t.Context()), &connectErr), false)
	})
	t.Run("an error that repeats the password is redacted and keeps its SQLSTATE", func(t *testing.T) {
		t.Parallel()
		config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		config.Password = secret
		c, err := pgsafe.NewConnectorConfig(config, pgsafe.WithAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `do $$ begin raise exception 'no % here', '`+secret+`' using errcode = '57P03'; end $$`)
			return errors.Join(err, context.DeadlineExceeded)
		}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		err = db.PingContext(t.Context())
		check.Equal(t, pgsafe.SQLState(err), "57P03")
		check.Equal(t, errors.Is(err, context.DeadlineExceeded), true)
		noSecret(t, err, secret)
		if !strings.Contains(err.Error(), "no [redacted] here") {
			t.Error(err)
		}
	})
	t.Run("an error that repeats the password only in its detail is redacted", func(t *testing.T) {
		t.Parallel()
		config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
		check.OK(t, err)
		config.Password = secret
		c, err := pgsafe.NewConnectorConfig(config, pgsafe.WithAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, `do $$ begin raise exception 'no' using detail = '`+secret+`'; end $$`)
			return err
		}))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		err = db.PingContext(t.Context())
		check.Equal(t, pgsafe.SQLState(err), "P0001")
		noSecret(t, err, secret)
	})
}

func TestErrorsHideAPasswordThatAHookSets(t *testing.T) {
	const secret = "tok3n/+x9=Q"
	config, err := pgx.ParseConfig(pgtest.Shared(t).Database(t))
	check.OK(t, err)
	c, err := pgsafe.NewConnectorConfig(config,
		pgsafe.WithBeforeConnect(func(_ context.Context, cc *pgx.ConnConfig) error {
			cc.Password = secret
			return nil
		}),
		pgsafe.WithAfterConnect(func(_ context.Context, conn *pgx.Conn) error {
			return fmt.Errorf("cannot use %s, that is %s", conn.Config().Password, url.QueryEscape(secret))
		}))
	check.OK(t, err)
	db := sql.OpenDB(c)
	defer db.Close()
	noSecret(t, db.PingContext(t.Context()), secret)
}

func TestInvalidConnectionStrings(t *testing.T) {
	const secret = "s3cr3t-Pa55"
	for _, c := range []struct {
		name, dsn, part string
	}{
		{"garbage", "the database of " + secret, ""},
		{"a string for another database", "mysql://u:" + secret + "@h/db", ""},
		{"an unknown key", "postgres://u:" + secret + "@h/db?frobnicate=1", ""},
		{"a missing CA file",
			"postgres://u:" + secret + "@h/db?sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "sslrootcert"},
		{"a missing client certificate",
			"postgres://u:" + secret + "@h/db?sslcert=/nowhere/c.pem&sslkey=/nowhere/k.pem", "sslcert"},
		{"a string of 1 MB", "postgres://u:" + strings.Repeat(secret, 100_000) + "@h/db", ""},
		{"a NUL", "postgres://u:" + secret + "@h/d\x00b", ""},
		{"a newline", "postgres://u:" + secret + "@h/db\n", ""},
		{"a pool size below one", "postgres://u:" + secret + "@h/db?pool_max_conns=-3", "pool_max_conns"},
		{"a pool size in words", "postgres://u:" + secret + "@h/db?pool_max_conns=many", "pool_max_conns"},
		{"an unknown profile", "postgres://u:" + secret + "@h/db?pool_profile=huge", "pool_profile"},
		{"a minimum above the maximum",
			"postgres://u:" + secret + "@h/db?pool_min_conns=5&pool_max_conns=2", "pool_min_idle_conns"},
		{"a warm-up above the maximum", "postgres://u:" + secret + "@h/db?pool_warmup=5&pool_max_conns=2", "pool_warmup"},
		{"a time without a unit", "postgres://u:" + secret + "@h/db?pool_acquire_timeout=5", "pool_acquire_timeout"},
		{"a negative time", "postgres://u:" + secret + "@h/db?pool_max_conn_lifetime=-1s", "pool_max_conn_lifetime"},
		{"an unknown kind of connection", "postgres://u:" + secret + "@h/db?pgsafe_conn=odd", "pgsafe_conn"},
		{"an unknown execution mode",
			"postgres://u:" + secret + "@h/db?default_query_exec_mode=odd", "default_query_exec_mode"},
		{"a negative cache", "postgres://u:" + secret + "@h/db?statement_cache_capacity=-1", "statement_cache_capacity"},
		{"the default mode without its cache",
			"postgres://u:" + secret + "@h/db?statement_cache_capacity=0", "statement_cache_capacity"},
		{"a mode without its cache",
			"postgres://u:" + secret + "@h/db?default_query_exec_mode=cache_describe&description_cache_capacity=0",
			"description_cache_capacity"},
		{"a cancel timeout without a unit",
			"postgres://u:" + secret + "@h/db?pgsafe_cancel_timeout=5", "pgsafe_cancel_timeout"},
		{"a negative cancel timeout", "postgres://u:" + secret + "@h/db?pgsafe_cancel_timeout=-5s", "pgsafe_cancel_timeout"},
		{"telemetry of an unknown kind", "postgres://u:" + secret + "@h/db?pgsafe_telemetry=loud", "pgsafe_telemetry"},
		{"a description cache in letters",
			"postgres://u:" + secret + "@h/db?description_cache_capacity=x", "description_cache_capacity"},
	} {
		t.Run("sql.Open refuses "+c.name+" and names the part and the remedy", func(t *testing.T) {
			_, err := sql.Open(pgsafe.DriverName, c.dsn)
			var dsnErr *pgsafe.DSNError
			if !errors.As(err, &dsnErr) {
				t.Fatalf("%v (%T) is not a *DSNError", err, err)
			}
			if c.part != "" {
				check.Equal(t, dsnErr.Part, c.part)
			}
			if dsnErr.Reason == "" || dsnErr.Hint == "" {
				t.Errorf("no reason or no remedy: %#v", dsnErr)
			}
			check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
			noSecret(t, err, secret)

			// Normalize and Inspect return the same errors, except for files: they read none.
			if strings.HasPrefix(dsnErr.Reason, "the file") {
				return
			}
			_, normalizeErr := pgsafe.Normalize(c.dsn)
			_, inspectErr := pgsafe.Inspect(c.dsn)
			check.Equal(t, fmt.Sprint(normalizeErr), err.Error())
			check.Equal(t, fmt.Sprint(inspectErr), err.Error())
		})
	}
	t.Run("sql.Open refuses an unknown profile in the environment", func(t *testing.T) {
		t.Setenv("PGSAFE_PROFILE", "huge")
		for _, dsn := range []string{"", "host=h"} {
			_, err := sql.Open(pgsafe.DriverName, dsn)
			var dsnErr *pgsafe.DSNError
			check.Equal(t, errors.As(err, &dsnErr), true)
			check.Equal(t, dsnErr.Part, "PGSAFE_PROFILE")
		}
		_, err := pgsafe.NewConnectorConfig(silent(t, "h", 1))
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
		c, err := pgsafe.NewConnector("host=h", pgsafe.WithProfile(pgsafe.AuthProfile())) // overrides it
		check.OK(t, err)
		check.OK(t, c.Close())
	})
	t.Run("sql.Open refuses an environment that pgx refuses and does not show it", func(t *testing.T) {
		t.Setenv("PGSSLMODE", "secret-odd")
		_, err := sql.Open(pgsafe.DriverName, "host=h password="+secret)
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
		noSecret(t, err, secret, "secret-odd")
	})
	t.Run("NewPoolConfig refuses an environment with an unknown service", func(t *testing.T) {
		t.Setenv("PGSERVICE", "there-is-none")
		_, err := pgsafe.NewPoolConfig("postgres://u@h/db")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
	})
	t.Run("sql.Open refuses a CA file without a certificate", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "ca.pem")
		check.OK(t, os.WriteFile(file, []byte("this is no PEM"), 0o600))
		_, err := sql.Open(pgsafe.DriverName, "host=h sslmode=verify-full sslrootcert="+file+" password="+secret)
		var dsnErr *pgsafe.DSNError
		check.Equal(t, errors.As(err, &dsnErr), true)
		check.Equal(t, strings.HasPrefix(dsnErr.Part, "sslrootcert"), true)
		noSecret(t, err, secret)
	})
}

func TestServiceFile(t *testing.T) {
	write := func(t *testing.T, lines string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "pg_service.conf")
		check.OK(t, os.WriteFile(file, []byte("[orders]\nhost=h\n"+lines), 0o600))
		t.Setenv("PGSERVICEFILE", file)
	}
	t.Run("the connect_timeout of a service file applies", func(t *testing.T) {
		write(t, "connect_timeout=3\n")
		config, err := pgsafe.NewPoolConfig("service=orders")
		check.OK(t, err)
		check.Equal(t, config.ConnConfig.ConnectTimeout, 3*time.Second)
	})
	t.Run("a key of a service file that no server knows is refused", func(t *testing.T) {
		write(t, "pool_max_conns=7\n")
		_, err := pgsafe.NewConnector("service=orders")
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
	})
}

func TestAnEmptyStringReadsTheEnvironment(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	t.Setenv("PGHOST", "localhost")
	t.Setenv("PGPORT", fmt.Sprint(cluster.Port()))
	t.Setenv("PGUSER", briefUser)
	t.Setenv("PGPASSWORD", briefPassword)
	t.Setenv("PGDATABASE", briefDatabase)
	t.Setenv("PGSSLMODE", "require")
	db := open(t, pgsafe.DriverName, "")
	check.Equal(t, one[string](t, db, "select current_user || '@' || current_database()"), briefUser+"@"+briefDatabase)
}

func TestConnectorShowsNoSecret(t *testing.T) {
	c, err := pgsafe.NewConnector("postgres://u:" + url.QueryEscape(briefPassword) + "@example.com:6432/orders")
	check.OK(t, err)
	defer c.Close()
	check.Equal(t, c.String(), "pgsafe.Connector(u@example.com:6432/orders)")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("pool", "connector", c)
	inJSON, err := json.Marshal(struct{ C *pgsafe.Connector }{c})
	check.OK(t, err)
	for _, text := range []string{
		log.String(), string(inJSON), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c),
		fmt.Sprintf("%+v %#v", struct{ C *pgsafe.Connector }{c}, struct{ C *pgsafe.Connector }{c}),
	} {
		holdsNone(t, text, briefPassword)
	}
}

// noSecret fails if any form of err shows four characters in a row of a secret.
func noSecret(t testing.TB, err error, secrets ...string) {
	t.Helper()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Error("failed", "error", err)
	inJSON, _ := json.Marshal(err) // an error that cannot be encoded shows nothing
	shown := []string{log.String(), string(inJSON)}
	for e := range chain(err) {
		shown = append(shown, e.Error(), fmt.Sprintf("%v %+v %#v %q", e, e, e, e))
	}
	for _, text := range shown {
		for _, secret := range secrets {
			holdsNone(t, text, secret)
		}
	}
}

func holdsNone(t testing.TB, text, secret string) {
	t.Helper()
	if pgtest.Shows(text, secret) {
		t.Errorf("%q shows part of a password", text)
	}
}

// chain yields err and every error that it wraps.
func chain(err error) func(yield func(error) bool) {
	return func(yield func(error) bool) {
		todo := []error{err}
		for len(todo) > 0 {
			e := todo[0]
			todo = todo[1:]
			if e == nil {
				continue
			}
			if !yield(e) {
				return
			}
			switch w := e.(type) {
			case interface{ Unwrap() error }:
				todo = append(todo, w.Unwrap())
			case interface{ Unwrap() []error }:
				todo = append(todo, w.Unwrap()...)
			}
		}
	}
}

func TestClientCertificate(t *testing.T) {
	cluster := pgtest.ClientCert(t)
	certFile, keyFile, err := cluster.ClientCert("postgres")
	check.OK(t, err)
	dsn := func(params ...string) string {
		return with(fmt.Sprintf("postgres://postgres@localhost:%d/postgres?sslmode=verify-full&sslrootcert=%s&sslcert=%s",
			cluster.Port(), cluster.CAFile(), certFile), params...)
	}
	t.Run("a client certificate logs in", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, dsn("sslkey="+keyFile))
		check.Equal(t, one[string](t, db, "select client_dn from pg_stat_ssl where pid = pg_backend_pid()"), "/CN=postgres")
	})
	t.Run("sslpassword decrypts the key of a client certificate", func(t *testing.T) {
		const secret = "zQ9#k[7w"
		encrypted := encryptKey(t, keyFile, secret)
		db := open(t, pgsafe.DriverName, dsn("sslkey="+encrypted, "sslpassword="+url.QueryEscape(secret)))
		check.OK(t, db.PingContext(t.Context()))
		_, err := sql.Open(pgsafe.DriverName, dsn("sslkey="+encrypted, "sslpassword=wrong"))
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindConfig)
		noSecret(t, err, secret)
	})
	t.Run("a login without the client certificate is refused", func(t *testing.T) {
		db := open(t, pgsafe.DriverName, fmt.Sprintf(
			"postgres://postgres@localhost:%d/postgres?sslmode=verify-full&sslrootcert=%s",
			cluster.Port(), cluster.CAFile()))
		check.Equal(t, pgsafe.KindOf(db.PingContext(t.Context())), pgsafe.KindAuth)
	})
}

// encryptKey writes the key of keyFile to a new file, encrypted in the older form of PEM.
func encryptKey(t *testing.T, keyFile, secret string) string {
	t.Helper()
	text, err := os.ReadFile(keyFile)
	check.OK(t, err)
	block, _ := pem.Decode(text)
	//lint:ignore SA1019 the files exist; internal/libpq tests the newer encryption
	encrypted, err := x509.EncryptPEMBlock(rand.Reader, block.Type, block.Bytes, []byte(secret), x509.PEMCipherAES256)
	check.OK(t, err)
	file := filepath.Join(t.TempDir(), "encrypted.key")
	check.OK(t, os.WriteFile(file, pem.EncodeToMemory(encrypted), 0o600))
	return file
}
