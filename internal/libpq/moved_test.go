package libpq_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// dialMoved connects as a Connector does whose WithBeforeConnect is move.
func dialMoved(t *testing.T, dsn string, move func(*pgx.ConnConfig)) {
	t.Helper()
	c, err := read(dsn)
	check.OK(t, err)
	config := c.Conn.Copy()
	c.Prepare(config)
	move(config)
	c.Settle(config)
	_, err = pgx.ConnectConfig(t.Context(), config)
	check.Equal(t, err != nil, true) // a recorder lets nobody in
}

func TestPasswordsOfServersThatTheApplicationMovesTo(t *testing.T) {
	a, b := newRecorder(t, nil), newRecorder(t, nil)
	sent := func(t *testing.T, hosts, lines string, move func(*pgx.ConnConfig)) []string {
		t.Helper()
		before := len(b.passwords())
		dialMoved(t, fmt.Sprintf("%s user=u dbname=d sslmode=disable passfile=%s", hosts, writeFile(t, "passwords", lines)), move)
		return b.passwords()[before:]
	}
	toB := func(config *pgx.ConnConfig) { config.Host, config.Port = "localhost", uint16(b.port()) }
	one := fmt.Sprintf("host=127.0.0.1 port=%d", a.port())
	several := fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d", a.port(), a.port())
	ofA := fmt.Sprintf("127.0.0.1:%d:*:*:password-of-a\n", a.port())
	ofB := fmt.Sprintf("localhost:%d:*:*:password-of-b\n", b.port())
	t.Run("another server does not get the password of the string's", func(t *testing.T) {
		same(t, sent(t, one, ofA, toB), "")
		same(t, sent(t, several, ofA, toB), "")
	})
	t.Run("it gets its own", func(t *testing.T) {
		same(t, sent(t, one, ofA+ofB, toB), "password-of-b")
		same(t, sent(t, several, ofA+ofB, toB), "password-of-b")
	})
	t.Run("a server that is added gets its own", func(t *testing.T) {
		same(t, sent(t, one, ofA+ofB, func(config *pgx.ConnConfig) {
			config.Fallbacks = append(config.Fallbacks, &pgconn.FallbackConfig{Host: "localhost", Port: uint16(b.port())})
		}), "password-of-b")
	})
	t.Run("another user gets its own", func(t *testing.T) {
		same(t, sent(t, fmt.Sprintf("host=127.0.0.1 port=%d", b.port()), "*:*:*:u:password-of-u\n*:*:*:v:password-of-v\n",
			func(config *pgx.ConnConfig) { config.User = "v" }), "password-of-v")
	})
	t.Run("a password that the application sets goes along", func(t *testing.T) {
		same(t, sent(t, one, ofA+ofB, func(config *pgx.ConnConfig) {
			toB(config)
			config.Password = "password-of-a"
		}), "password-of-a")
	})
	t.Run("an AfterNetConnect of the application stays in force", func(t *testing.T) {
		var seen []string
		same(t, sent(t, several, ofA+ofB, func(config *pgx.ConnConfig) {
			toB(config)
			config.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
				seen = append(seen, conn.RemoteAddr().String())
				return conn, nil
			}
		}), "password-of-b")
		same(t, seen, b.listener.Addr().String(), a.listener.Addr().String())
	})
	t.Run("a server that is none of them, because the application dials it, gets none", func(t *testing.T) {
		same(t, sent(t, several, "127.0.0.1:*:*:*:password-of-a\n", func(config *pgx.ConnConfig) {
			config.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port())))
			}
		}), "", "")
	})
}
