package connect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/redact"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

const secret = "q7Zx[9f:Lk2@w8"

func TestExplain(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	at := fmt.Sprintf("localhost:%d", cluster.Port())
	closed := pgtest.ClosedPort(t)
	for _, c := range []struct {
		name  string
		dsn   string
		kind  failure.Kind
		state string
		parts []string
	}{
		{"a wrong password is explained", fmt.Sprintf("postgres://u:%s@%s/db", url.QueryEscape(secret), at), failure.Auth,
			sqlstate.InvalidPassword, []string{fmt.Sprintf(`pgsafe: cannot connect to %s as user "u", database "db": `, at)}},
		{"a login without a password gets a hint",
			"postgres://u@" + at + "/db?passfile=" + filepath.Join(t.TempDir(), "none"),
			failure.Auth, sqlstate.InvalidPassword, []string{"no password was given"}},
		{"an unknown database is explained",
			fmt.Sprintf("postgres://%s:%s@%s/nowhere", pgtest.TLSUser, url.QueryEscape(pgtest.TLSPassword), at),
			failure.Config, sqlstate.InvalidCatalogName, []string{`database "nowhere" does not exist`}},
		{"two servers that refuse are explained in one line", fmt.Sprintf("postgres://u:%s@127.0.0.1:%d,127.0.0.1:%d/db",
			url.QueryEscape(secret), closed, closed), failure.Unavailable, "", []string{"dial error"}},
		{"a certificate of an unknown authority is explained",
			fmt.Sprintf("postgres://u:%s@%s/db?sslmode=verify-full&sslrootcert=system",
				url.QueryEscape(secret), at), failure.Config, "", []string{"x509"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			explained, _ := newFixture(t, c.dsn, nil).fails(t)
			check.Equal(t, failure.Of(explained), c.kind)
			check.Equal(t, sqlstate.Of(explained), c.state)
			for _, part := range c.parts {
				contains(t, explained.Error(), part)
			}
			check.Equal(t, strings.Contains(explained.Error(), "\n"), false)
			check.Equal(t, strings.Count(explained.Error(), "dial error") < 2, true)
			hides(t, explained, secret, pgtest.TLSPassword)
		})
	}
	t.Run("a hint about the password file is not given for a missing right", func(t *testing.T) {
		trust := pgtest.Shared(t)
		uri := trust.Database(t)
		admin := trust.Admin(t)
		for _, sql := range []string{"drop role if exists outsider", "create role outsider login",
			"revoke connect on database " + databaseIn(t, uri) + " from public"} {
			_, err := admin.Exec(t.Context(), sql)
			check.OK(t, err)
		}
		passfile := filepath.Join(t.TempDir(), "pgpass")
		check.OK(t, os.WriteFile(passfile, []byte("*:*:*:*:"+secret+"\n"), 0o644)) // others may read it, so it is ignored
		u, err := url.Parse(with(uri, "passfile="+passfile))
		check.OK(t, err)
		u.User = url.User("outsider")
		explained, _ := newFixture(t, u.String(), nil).fails(t)
		check.Equal(t, failure.Of(explained), failure.Auth)
		check.Equal(t, strings.Contains(explained.Error(), "pgpass"), false)
		check.Equal(t, strings.Contains(explained.Error(), "password"), false)
	})
	t.Run("a setting that PgBouncer does not pass on gets a hint", func(t *testing.T) {
		pooler := pgtest.PgBouncer(t, pgtest.Shared(t), pgserver.PgBouncerOptions{})
		explained, _ := newFixture(t, with(pooler.URI("postgres"), "work_mem=4MB"), nil).fails(t)
		check.Equal(t, failure.Of(explained), failure.Config)
		contains(t, explained.Error(), "ignore_startup_parameters")
	})
	t.Run("the end of the caller's context is added once", func(t *testing.T) {
		f := newFixture(t, fmt.Sprintf("postgres://u:%s@127.0.0.1:%d/db", url.QueryEscape(secret), closed), nil)
		_, raw := f.fails(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		explained := f.Explain(ctx, raw)
		check.Equal(t, errors.Is(explained, context.Canceled), true)
		contains(t, explained.Error(), "refused: context canceled")
		again := f.Explain(ctx, explained)
		check.Equal(t, again.Error(), explained.Error())
		hides(t, explained, secret)
	})
	t.Run("pgconn's error, which holds the configuration, is out of reach", func(t *testing.T) {
		f := newFixture(t, fmt.Sprintf("postgres://u:%s@127.0.0.1:%d/db", url.QueryEscape(secret), closed), nil)
		explained, _ := f.fails(t)
		_, found := errors.AsType[*pgconn.ConnectError](explained)
		check.Equal(t, found, false)
	})
}

func TestRedactedErrors(t *testing.T) {
	raising := func(sql string) func(context.Context, *pgx.Conn) error {
		return func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, sql)
			return errors.Join(err, context.DeadlineExceeded)
		}
	}
	for _, c := range []struct {
		name, sql, code, part string
	}{
		{"a server's message that repeats the password is redacted",
			`do $$ begin raise 'no % here', '` + secret + `' using errcode = '57P03'; end $$`,
			"57P03", "no " + redact.Marker + " here"},
		{"a server's detail that repeats the password is redacted",
			`do $$ begin raise 'no' using detail = '` + secret + `'; end $$`, "P0001", "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fixtureFrom(t, pgtest.Shared(t).Database(t), func(config *pgx.ConnConfig) { config.Password = secret },
				func(o *connect.Options) { o.AfterConnect = raising(c.sql) })
			explained, _ := f.fails(t)
			check.Equal(t, sqlstate.Of(explained), c.code)
			check.Equal(t, errors.Is(explained, context.DeadlineExceeded), true)
			contains(t, explained.Error(), c.part)
			hides(t, explained, secret)
		})
	}
	for name, change := range map[string]func(*connect.Options){
		"a password of the application's function is redacted": func(o *connect.Options) {
			o.Password = func(context.Context) (string, error) { return secret, nil }
		},
		"a password that BeforeConnect sets is redacted": func(o *connect.Options) {
			o.BeforeConnect = func(_ context.Context, config *pgx.ConnConfig) error {
				config.Password = secret
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, pgtest.Shared(t).Database(t), func(o *connect.Options) {
				change(o)
				o.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
					return fmt.Errorf("cannot use %s, that is %s", conn.Config().Password, url.QueryEscape(secret))
				}
			})
			explained, _ := f.fails(t)
			check.Equal(t, explained.Error(), "cannot use "+redact.Marker+", that is "+redact.Marker)
			check.Equal(t, f.Redact("it was "+secret), "it was "+redact.Marker)
			hides(t, explained, secret)
		})
	}
	t.Run("a password of a password file is redacted", func(t *testing.T) {
		passfile := filepath.Join(t.TempDir(), "pgpass")
		check.OK(t, os.WriteFile(passfile, []byte("*:*:*:*:wrong-"+pgtest.TLSPassword[:4]+"\n"), 0o600))
		dsn := fmt.Sprintf("postgres://%s@localhost:%d/db?passfile=%s", pgtest.TLSUser, pgtest.SharedTLS(t).Port(), passfile)
		f := newFixture(t, dsn, nil)
		explained, _ := f.fails(t)
		check.Equal(t, failure.Of(explained), failure.Auth)
		check.Equal(t, f.Redact("wrong-"+pgtest.TLSPassword[:4]), redact.Marker)
	})
	t.Run("an error of the application's function keeps its identity", func(t *testing.T) {
		cause := errors.New("the vault is sealed")
		f := newFixture(t, pgtest.Shared(t).Database(t), func(o *connect.Options) {
			o.Password = func(context.Context) (string, error) { return "", cause }
		})
		explained, raw := f.fails(t)
		check.Equal(t, errors.Is(explained, cause), true)
		check.Equal(t, explained.Error(), cause.Error())
		check.Equal(t, f.Patience(raw), 0)
	})
	t.Run("the application's function has the time of connect_timeout", func(t *testing.T) {
		f := newFixture(t, with(pgtest.Shared(t).Database(t), "connect_timeout=2"), func(o *connect.Options) {
			o.Password = func(ctx context.Context) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			}
		})
		explained, _ := f.fails(t)
		check.Equal(t, failure.Of(explained), failure.Timeout)
	})
}

// hides fails the test if a part of a secret shows in what a program may print of err or of its
// causes.
func hides(t *testing.T, err error, secrets ...string) {
	t.Helper()
	failure.Any(err, func(err error) bool {
		asJSON, _ := json.Marshal(err) // what cannot be encoded shows nothing
		texts := []string{err.Error(), fmt.Sprintf("%+v %#v %q", err, err, err), string(asJSON)}
		for _, secret := range secrets {
			if pgtest.Shows(strings.Join(texts, " "), secret) {
				t.Errorf("%q shows a part of %q", texts, secret)
			}
		}
		return false
	})
}
