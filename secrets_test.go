package pgsafe_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// secretCase is one of urlfix's cases: a connection string, and the passwords that it holds in any of its readings.
type secretCase struct {
	ID       string
	DSN      string
	Expect   *secretReading
	Alt      []json.RawMessage // "error", or a secretReading
	Readings []secretReading
	Files    []string // that the string names
}

type secretReading struct {
	Password string
	Params   map[string]string
}

// misplaced are strings with a password where another thing belongs, or in a string that has another fault.
var misplaced = []string{
	"PASSWORD", "PASSWORD://h/db", "u:PASSWORD@h/db", "postgres:/u:PASSWORD@h/db", "mysql://u:PASSWORD@h/db",
	"postgres://PASSWORD/db", "postgres://u@h:PASSWORD/db", "postgres://u@h1,h2:PASSWORD/db", "postgres://u@[PASSWORD]/db",
	"postgres://u:PASSWORD%@h:x/db", "postgres://u:PASSWORD@h/db\n", "postgres://u:PASSWORD@h1,u:PASSWORD@h2/db",
	"postgres://u@h/db?PASSWORD=1", "postgres://u@h/db?PASSWORD", "postgres://u@h/db?password=x&PASSWORD=1",
	"postgres://u@h/db?sslmode=PASSWORD", "postgres://u@h/db?ssl=PASSWORD", "postgres://u@h/db?port=PASSWORD",
	"postgres://u@h/db?connect_timeout=PASSWORD", "postgres://u@h/db?hostaddr=PASSWORD", "postgres://u@h/?host=PASSWORD",
	"postgres://u@h/db?client_encoding=PASSWORD",
	"postgres://u@h/db?pool_max_conns=PASSWORD", "postgres://u@h/db?pool_profile=PASSWORD",
	"postgres://u@h/db?pgsafe_conn=PASSWORD", "postgres://u@h/db?pgsafe_dialect=PASSWORD",
	"postgres://u@h/db?sslpassword=PASSWORD", "postgres://u:x@h/db?password=PASSWORD",
	"host=h user=u PASSWORD", "host=h user=u PASSWORD=x", "host=h user=u password='PASSWORD", "host=h password=x PASSWORD",
	"host= password=PASSWORD", "port=PASSWORD", "host=h, user=u, password=PASSWORD", "host='h PASSWORD'",
	"postgresql+psycopg2://u:PASSWORD@h:x/db", "postgresql+PASSWORD://h/db", "postgresql+asyncpg://u@h/db?PASSWORD=1",
	"jdbc:postgresql://h/db?user=u&password=PASSWORD&nosuch=x", "jdbc:postgresql://u:PASSWORD@h/db", "jdbc:PASSWORD",
	"Host=h;Username=u;Password=PASSWORD;Nosuch=x", "Host=h;Username=u;PASSWORD", "Host=h;Username=u;Password='PASSWORD",
	"pgsql:host=h;user=u;password=PASSWORD;nosuch=x", "pgsql:PASSWORD", "ecto://u:PASSWORD@h/a/b", "pgx5://u:PASSWORD@h:x/db",
}

// secretCases are the string of the outage, those with a misplaced password, and all cases of urlfix.
func secretCases(t *testing.T) []secretCase {
	t.Helper()
	f, err := os.Open(filepath.Join("internal", "urlfix", "testdata", "cases.jsonl"))
	check.OK(t, err)
	defer f.Close()
	cases := []secretCase{{ID: "the outage", DSN: dsnRaw, Expect: &secretReading{Password: dsnPassword}}}
	for _, dsn := range misplaced {
		expect := &secretReading{Password: dsnPassword}
		cases = append(cases, secretCase{ID: dsn, DSN: strings.ReplaceAll(dsn, "PASSWORD", dsnPassword), Expect: expect})
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var c secretCase
		check.OK(t, json.Unmarshal(lines.Bytes(), &c))
		cases = append(cases, c)
	}
	return cases
}

// passwords returns those with four characters or more, of which a part could be seen.
func (c secretCase) passwords(t *testing.T) []string {
	t.Helper()
	readings := c.Readings
	if c.Expect != nil {
		readings = append(readings, *c.Expect)
	}
	for _, raw := range c.Alt {
		var r secretReading
		if string(raw) != `"error"` {
			check.OK(t, json.Unmarshal(raw, &r))
		}
		readings = append(readings, r)
	}
	var found []string
	for _, r := range readings {
		for _, p := range []string{r.Password, r.Params["sslpassword"]} {
			if len(p) >= 4 {
				found = append(found, p)
			}
		}
	}
	return found
}

// unescape are the ways in which a dialect may write a password. Each returns the password that text stands for.
var unescape = []func(text string) string{
	func(text string) string { return text },
	lenientURL(url.PathUnescape),
	lenientURL(url.QueryUnescape),
	func(text string) string { return backslash.ReplaceAllString(text, "$1") },
	strings.NewReplacer(`''`, `'`).Replace,
	strings.NewReplacer(`""`, `"`).Replace,
}

var backslash = regexp.MustCompile(`\\(.)`)

func lenientURL(decode func(string) (string, error)) func(string) string {
	return func(text string) string {
		decoded, err := decode(text)
		if err != nil {
			return ""
		}
		return decoded
	}
}

// disguise replaces the letters of the passwords, because in most cases those are words of our own texts, such as
// "password". It returns the string with other passwords, and those. What is no letter makes the case, and stays;
// digits stay where they may be taken for a port.
func disguise(t *testing.T, dsn string, passwords []string) (disguised string, secrets []string) {
	t.Helper()
	text := []byte(dsn)
	var found []func() string
	for _, password := range passwords {
		from, to, read := locate(dsn, password)
		if read == nil {
			t.Fatalf("the password %q is not in the string", password)
		}
		alphanumeric := strings.IndexFunc(password, func(r rune) bool { return !letter(r) && !digit(r) }) < 0
		for i := from; i < to; i++ {
			if percentEscape.Match(text[i:min(i+3, to)]) {
				i += 2
			} else if r := rune(text[i]); letter(r) || digit(r) && alphanumeric {
				text[i] = "QXZJ"[i%4]
			}
		}
		found = append(found, func() string { return read(string(text[from:to])) })
	}
	for _, read := range found {
		secrets = append(secrets, read())
	}
	return string(text), secrets
}

func letter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
func digit(r rune) bool  { return '0' <= r && r <= '9' }

// inFront are what stands in front of a password, from the surest on.
var inFront = []*regexp.Regexp{
	regexp.MustCompile(`(?i)(password|pwd|psw) *= *['"]?$`),
	regexp.MustCompile(`:$`),
	regexp.MustCompile(``),
}

// locate finds the place of a password in a string.
func locate(dsn, password string) (from, to int, read func(string) string) {
	for _, before := range inFront {
		for _, decode := range unescape {
			for i := range len(dsn) {
				if !before.MatchString(dsn[:i]) {
					continue
				}
				for j := i + len(password); j <= len(dsn); j++ {
					if decode(dsn[i:j]) == password {
						return i, j, decode
					}
				}
			}
		}
	}
	return 0, 0, nil
}

// witness collects texts, and knows what must not be in them.
type witness struct {
	t       *testing.T
	windows []string // each four characters of a secret, as they may be written
}

func newWitness(t *testing.T, secrets []string) *witness {
	w := &witness{t: t}
	for _, secret := range secrets {
		for i := 0; i+4 <= len(secret); i++ {
			part := secret[i : i+4]
			if strings.Trim(part, "0123456789") == "" {
				continue // it may be part of a port; the next ones tell as much
			}
			quoted := strconv.Quote(part)
			inJSON, err := json.Marshal(part)
			check.OK(t, err)
			w.windows = append(w.windows, part, quoted[1:len(quoted)-1], string(inJSON[1:len(inJSON)-1]),
				url.QueryEscape(part), url.PathEscape(part), hex.EncodeToString([]byte(part)))
		}
	}
	return w
}

// text checks one text.
func (w *witness) text(what, text string) {
	w.t.Helper()
	lower := strings.ToLower(text)
	for _, window := range w.windows {
		if strings.Contains(text, window) || len(window) == 8 && strings.Contains(lower, window) {
			w.t.Fatalf("%s shows %q: %s", what, window, text)
		}
	}
}

// value checks all the ways in which a program might print a value.
func (w *witness) value(what string, v any) {
	w.t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X"} {
		w.text(what+" as "+verb, fmt.Sprintf(verb, v))
		w.text(what+" in a struct as "+verb, fmt.Sprintf(verb, struct{ V any }{v}))
	}
	var log bytes.Buffer
	for _, l := range loggers(&log) {
		l.Info("logged", "v", v, "group", slog.GroupValue(slog.Any("v", v)))
	}
	w.text(what+" in a log", log.String())
	inJSON, _ := json.Marshal(v) // what cannot be encoded shows nothing
	w.text(what+" in JSON", string(inJSON))
}

// err checks an error, and all that it wraps.
func (w *witness) err(what string, err error) {
	w.t.Helper()
	for e := range chain(err) {
		w.value(what, e)
	}
}

// loggers write text, and JSON, to log, without the time, which is made of digits as passwords are.
func loggers(log *bytes.Buffer) []*slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	return []*slog.Logger{slog.New(slog.NewTextHandler(log, options)), slog.New(slog.NewJSONHandler(log, options))}
}

// withoutEnvironment clears the PG* variables, and changes to a directory with the files that a case names.
func withoutEnvironment(t *testing.T, cluster *pgtest.Cluster, files []string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if key, _, _ := strings.Cut(pair, "="); strings.HasPrefix(key, "PG") {
			t.Setenv(key, "") // so that it is put back
			check.OK(t, os.Unsetenv(key))
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Chdir(t.TempDir())
	certificate, err := os.ReadFile(cluster.CAFile())
	check.OK(t, err)
	for _, file := range files {
		check.OK(t, os.WriteFile(filepath.Base(file), certificate, 0o600))
	}
}

func TestNothingShowsAPassword(t *testing.T) {
	cluster := pgtest.New(t, pgserver.Options{Auth: pgserver.SCRAM, Password: "unused", TLS: true,
		Settings: map[string]string{"log_line_prefix": ""}})
	closed := pgtest.ClosedPort(t)
	var all []string
	opened, refused := 0, 0
	for _, c := range secretCases(t) {
		t.Run(c.ID, func(t *testing.T) {
			dsn, secrets := disguise(t, c.DSN, c.passwords(t))
			all = append(all, secrets...)
			w := newWitness(t, secrets)
			withoutEnvironment(t, cluster, c.Files)
			w.strings(dsn)
			for _, port := range []int{closed, cluster.Port()} {
				connector := w.connector(dsn, port)
				if connector == nil {
					refused++
					return
				}
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if port == closed { // it is tried again until then
					ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				}
				w.connecting(ctx, connector)
				cancel()
			}
			opened++
		})
	}
	t.Run("the server's log", func(t *testing.T) {
		cluster.Sessions(t, "postgres") // by now, it has logged all
		newWitness(t, all).text("the server's log", cluster.Log())
		if !strings.Contains(cluster.Log(), "password authentication failed") {
			t.Error("no login has failed")
		}
	})
	t.Logf("%d opened, %d refused, %d passwords", opened, refused, len(all))
	if opened < 100 || refused < 50 || len(all) < 150 {
		t.Error("too few cases for this test to mean anything")
	}
}

// strings checks what the functions for strings say about one.
func (w *witness) strings(dsn string) {
	w.t.Helper()
	_, err := pgsafe.Normalize(dsn)
	w.err("the error of Normalize", err)
	report, err := pgsafe.Inspect(dsn)
	w.err("the error of Inspect", err)
	if err == nil {
		w.value("the report", report)
		w.value("a copy of the report", *report)
	}
	w.text("Redact", pgsafe.Redact(dsn))
	db, err := sql.Open(pgsafe.DriverName, dsn)
	w.err("the error of sql.Open", err)
	if err == nil {
		check.OK(w.t, db.Close())
	}
}

// connector checks a connector whose connections go to a port of this machine, without TLS. It is nil if dsn is
// refused.
func (w *witness) connector(dsn string, port int) *pgsafe.Connector {
	w.t.Helper()
	var log bytes.Buffer
	redirect := pgsafe.WithBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
		config.Host, config.Port, config.TLSConfig, config.Fallbacks = "127.0.0.1", uint16(port), nil, nil
		return nil
	})
	c, err := pgsafe.NewConnector(dsn, redirect, pgsafe.WithLogger(loggers(&log)[0]))
	w.text("the log", log.String())
	if err != nil {
		w.err("the error of NewConnector", err)
		var refusal *pgsafe.DSNError
		if !errors.As(err, &refusal) {
			w.t.Errorf("%T is no *DSNError", err)
		}
		return nil
	}
	w.t.Cleanup(func() { check.OK(w.t, c.Close()) })
	w.value("the connector", c)
	w.value("its driver", c.Driver())
	return c
}

// connecting checks errors of connecting, and of waiting.
func (w *witness) connecting(ctx context.Context, c *pgsafe.Connector) {
	w.t.Helper()
	_, err := c.Connect(ctx)
	if err == nil {
		w.t.Error("it logs in")
	}
	w.err("the error of connecting", err)
	w.value("the numbers of the pool", c.Stats())
	late, cancel := context.WithCancel(w.t.Context())
	cancel()
	_, err = c.Connect(late)
	if !errors.Is(err, context.Canceled) {
		w.t.Errorf("%v (%T) is not the context's error", err, err)
	}
	w.err("the error of waiting", err)
}

// panicEnv makes TestPanicsShowNoPassword panic with the value it names.
const panicEnv = "PGSAFE_TEST_PANIC"

func TestPanicsShowNoPassword(t *testing.T) {
	values := map[string]func() any{
		"the error of a string": func() any {
			_, err := sql.Open(pgsafe.DriverName, strings.Replace(dsnRaw, "5432", "port", 1))
			return err
		},
		"a report": func() any {
			report, err := pgsafe.Inspect(dsnRaw)
			check.OK(t, err)
			return report
		},
		"a copy of a report": func() any {
			report, err := pgsafe.Inspect(dsnRaw)
			check.OK(t, err)
			return *report
		},
		"a connector": func() any {
			c, err := pgsafe.NewConnector(dsnRaw)
			check.OK(t, err)
			return c
		},
		"the error of connecting": func() any {
			c, err := pgsafe.NewConnector(strings.Replace(dsnRaw, "postgres:5432", fmt.Sprintf("127.0.0.1:%d", pgtest.ClosedPort(t)), 1))
			check.OK(t, err)
			_, err = c.Connect(t.Context())
			return err
		},
	}
	if value, ok := values[os.Getenv(panicEnv)]; ok {
		panic(value())
	}
	for name := range values {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := osexec.Command(os.Args[0], "-test.run=^TestPanicsShowNoPassword$")
			child.Env = append(os.Environ(), panicEnv+"="+name)
			out, err := child.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "panic: ") {
				t.Fatalf("no panic: %v\n%s", err, out)
			}
			newWitness(t, []string{dsnPassword}).text("the panic", string(out))
		})
	}
}
