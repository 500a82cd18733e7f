package connect_test

import (
	"bytes"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe/internal/connect"
	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// TestMain clears what the environment says about connecting.
func TestMain(m *testing.M) {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGSAFE") {
			_ = os.Unsetenv(name) // the name comes from the environment itself
		}
	}
	pgtest.Main(m)
}

// fixture is a Dialer and its log.
type fixture struct {
	*connect.Dialer
	log *buffer
}

// newFixture makes a Dialer for a connection string. change may complete the options.
func newFixture(t *testing.T, dsn string, change func(*connect.Options)) fixture {
	t.Helper()
	parsed, err := urlfix.Parse(dsn)
	check.OK(t, err)
	server, err := libpq.Read(parsed)
	check.OK(t, err)
	return fixtureOf(t, server, change)
}

// fixtureFrom makes a Dialer for a configuration of the application's own.
func fixtureFrom(t *testing.T, uri string, configure func(*pgx.ConnConfig), change func(*connect.Options)) fixture {
	t.Helper()
	config, err := pgx.ParseConfig(uri)
	check.OK(t, err)
	configure(config)
	return fixtureOf(t, &libpq.Config{Conn: config}, change)
}

func fixtureOf(t *testing.T, server *libpq.Config, change func(*connect.Options)) fixture {
	t.Helper()
	f := fixture{log: &buffer{}}
	o := connect.Options{Server: server, Logger: slog.New(slog.NewTextHandler(f.log, nil)), LogPool: poolName("orders")}
	if change != nil {
		change(&o)
	}
	f.Dialer = connect.New(o)
	t.Cleanup(f.Close)
	return f
}

type poolName string

func (n poolName) LogValue() slog.Value { return slog.StringValue(string(n)) }

// dial makes a connection that lives as long as the test.
func (f fixture) dial(t *testing.T) *connect.Made {
	t.Helper()
	made, err := f.Dial(t.Context())
	check.OK(t, err)
	t.Cleanup(func() { _ = made.Conn.Close() }) // a test may have ended it
	return made
}

// fails returns the error of a dial, explained and not.
func (f fixture) fails(t *testing.T) (explained, raw error) {
	t.Helper()
	made, err := f.Dial(t.Context())
	if err == nil {
		_ = made.Conn.Close()
		t.Fatal("the server lets the client in")
	}
	return f.Explain(t.Context(), err), err
}

// buffer is a log that several goroutines write.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// databaseIn returns the database of a URI.
func databaseIn(t *testing.T, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	check.OK(t, err)
	return strings.TrimPrefix(u.Path, "/")
}

// with adds parameters to a URI.
func with(uri, params string) string {
	if strings.Contains(uri, "?") {
		return uri + "&" + params
	}
	return uri + "?" + params
}

func contains(t testing.TB, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q is not in %q", part, text)
	}
}
