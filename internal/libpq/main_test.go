package libpq_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// TestMain takes away what the environment says about connecting: the tests set what they are about.
func TestMain(m *testing.M) {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGSAFE") {
			_ = os.Unsetenv(name) // the name comes from the environment itself
		}
	}
	pgtest.Main(m)
}

// read is libpq.Read of a connection string.
func read(dsn string) (*libpq.Config, error) {
	d, err := urlfix.Parse(dsn)
	if err != nil {
		return nil, err
	}
	return libpq.Read(d)
}

// refusal returns the error with which a connection string is refused.
func refusal(t testing.TB, dsn string) *urlfix.Error {
	t.Helper()
	_, err := read(dsn)
	var refused *urlfix.Error
	if !errors.As(err, &refused) {
		t.Fatalf("not refused: %v", err)
	}
	return refused
}

// dial connects once, as a Connector does.
func dial(t testing.TB, c *libpq.Config) (*pgx.Conn, error) {
	t.Helper()
	config := c.Conn.Copy()
	c.Prepare(config)
	c.Settle(config)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err == nil {
		t.Cleanup(func() { _ = conn.PgConn().Conn().Close() })
	}
	return conn, err
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := dialDSN(t, dsn)
	check.OK(t, err)
	return conn
}

func dialDSN(t testing.TB, dsn string) (*pgx.Conn, error) {
	t.Helper()
	c, err := read(dsn)
	check.OK(t, err)
	return dial(t, c)
}

// show returns the one text that a query gives.
func show(t testing.TB, conn *pgx.Conn, query string) string {
	t.Helper()
	var text string
	check.OK(t, conn.QueryRow(t.Context(), query).Scan(&text))
	return text
}

// with adds parameters to a URI that has some.
func with(uri string, params ...string) string {
	for i := 0; i < len(params); i += 2 {
		if before, rest, found := strings.Cut(uri, "&"+params[i]+"="); found { // two values would be a conflict
			_, rest, _ = strings.Cut(rest+"&", "&")
			uri = strings.TrimSuffix(before+"&"+rest, "&")
		}
		uri += "&" + params[i] + "=" + strings.ReplaceAll(url.QueryEscape(params[i+1]), "+", "%20")
	}
	return uri
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check.OK(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
