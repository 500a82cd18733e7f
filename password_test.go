package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

func TestWithPassword(t *testing.T) {
	cluster := pgtest.SharedTLS(t)
	// from is a connection string with this password, "" for none.
	from := func(password string) string {
		user := url.User(briefUser)
		if password != "" {
			user = url.UserPassword(briefUser, password)
		}
		return fmt.Sprintf("postgres://%s@localhost:%d/%s?sslmode=require", user, cluster.Port(), briefDatabase)
	}
	connect := func(t *testing.T, dsn string, opts ...pgsafe.Option) *sql.DB {
		t.Helper()
		c, err := pgsafe.NewConnector(dsn, opts...)
		check.OK(t, err)
		db := sql.OpenDB(c)
		t.Cleanup(func() { check.OK(t, db.Close()) })
		return db
	}
	says := func(password string) pgsafe.Option {
		return pgsafe.WithPassword(func(context.Context) (string, error) { return password, nil })
	}
	t.Run("it outranks the password of the string", func(t *testing.T) {
		check.OK(t, connect(t, from("quite-wrong-7x"), says(briefPassword)).PingContext(t.Context()))
	})
	t.Run("it outranks the password file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "passwords")
		check.OK(t, os.WriteFile(file, []byte("*:*:*:*:quite-wrong-7x\n"), 0o600))
		check.OK(t, connect(t, with(from(""), "passfile="+file), says(briefPassword)).PingContext(t.Context()))
	})
	t.Run("what is empty is not looked for in the password file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "passwords")
		check.OK(t, os.WriteFile(file, []byte("*:*:*:*:"+briefPassword+"\n"), 0o600))
		err := connect(t, with(from(""), "passfile="+file), says("")).PingContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindAuth)
	})
	t.Run("it is asked for each connection", func(t *testing.T) {
		var asked atomic.Int32
		db := connect(t, from(""), pgsafe.WithPassword(func(context.Context) (string, error) {
			asked.Add(1)
			return briefPassword, nil
		}))
		holdAll(t, db, 3)
		check.Equal(t, asked.Load(), 3)
	})
	t.Run("it works with a configuration of the application's", func(t *testing.T) {
		config, err := pgx.ParseConfig(from("quite-wrong-7x"))
		check.OK(t, err)
		c, err := pgsafe.NewConnectorConfig(config, says(briefPassword))
		check.OK(t, err)
		db := sql.OpenDB(c)
		defer db.Close()
		check.OK(t, db.PingContext(t.Context()))
	})
	t.Run("a function of WithBeforeConnect sees it, and has the last word", func(t *testing.T) {
		var seen string
		db := connect(t, from(""), says("first-one-7x"),
			pgsafe.WithBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
				seen, config.Password = config.Password, briefPassword
				return nil
			}))
		check.OK(t, db.PingContext(t.Context()))
		check.Equal(t, seen, "first-one-7x")
	})
	t.Run("a password that it gave is in no error", func(t *testing.T) {
		err := connect(t, from(""), says("q7Zx[9f:Lk2@w8")).PingContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindAuth)
		noSecret(t, err, "q7Zx[9f:Lk2@w8")
		err = connect(t, from(""), says(briefPassword), pgsafe.WithAfterConnect(func(_ context.Context, conn *pgx.Conn) error {
			return fmt.Errorf("could not log in with %s", conn.Config().Password)
		})).PingContext(t.Context())
		check.Equal(t, strings.Contains(fmt.Sprint(err), "could not log in"), true)
		noSecret(t, err, briefPassword)
	})
	t.Run("its error reaches the caller as it is", func(t *testing.T) {
		vault := errors.New("the vault is sealed")
		err := connect(t, from(briefPassword), pgsafe.WithPassword(func(context.Context) (string, error) {
			return "", vault
		})).PingContext(t.Context())
		check.Equal(t, errors.Is(err, vault), true)
		check.Equal(t, err.Error(), vault.Error())
	})
	t.Run("it gets a context that ends with connect_timeout", func(t *testing.T) {
		err := connect(t, with(from(""), "connect_timeout=1"), pgsafe.WithPassword(func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})).PingContext(t.Context())
		check.Equal(t, pgsafe.KindOf(err), pgsafe.KindTimeout)
	})
}
