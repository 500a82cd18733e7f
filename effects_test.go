package pgsafe_test

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/session"
)

// sessionText is a text with effects, of internal/sqltext/testdata/effects.txt, which explains the marks.
type sessionText struct {
	text, marks string
}

// sessionTexts returns the texts that can run.
func sessionTexts(t testing.TB) []sessionText {
	t.Helper()
	file, err := os.ReadFile("internal/sqltext/testdata/effects.txt")
	check.OK(t, err)
	var list []sessionText
	for line := range strings.Lines(string(file)) {
		effects, text, ok := strings.Cut(strings.TrimSpace(line), "|")
		names, marks, _ := strings.Cut(effects, " ")
		if ok && names != "none" && line[0] != '#' && !strings.Contains(marks, "!") {
			list = append(list, sessionText{strings.TrimSpace(text), marks})
		}
	}
	return list
}

// sessionSchema is what the texts need. Its function run and its procedure leave run the text that they get. The
// function known reports whether random() follows setseed(0.5).
const sessionSchema = `
CREATE SEQUENCE numbers;
CREATE TABLE t (a int, b text);
INSERT INTO t VALUES (1, 'x');
CREATE TABLE u (a int PRIMARY KEY, b text);
INSERT INTO u VALUES (1, 'x');
CREATE TABLE serial (n serial);
CREATE TABLE defaulted (a int, l boolean DEFAULT pg_try_advisory_lock(1));
CREATE TABLE parted (a boolean) PARTITION BY LIST (a);
CREATE FUNCTION run(command text) RETURNS text LANGUAGE plpgsql AS 'BEGIN EXECUTE command; RETURN command; END';
CREATE PROCEDURE leave(command text, also boolean DEFAULT false) LANGUAGE plpgsql AS 'BEGIN EXECUTE command; END';
CREATE FUNCTION run_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN EXECUTE NEW.command; RETURN NEW; END';
CREATE TABLE commands (command text);
CREATE TRIGGER run_it BEFORE INSERT ON commands FOR EACH ROW EXECUTE FUNCTION run_it();
CREATE FUNCTION has_lastval() RETURNS boolean LANGUAGE plpgsql AS
	'BEGIN PERFORM pg_catalog.lastval(); RETURN true;
	EXCEPTION WHEN object_not_in_prerequisite_state THEN RETURN false; END';
SELECT setseed(0.5);
CREATE TABLE seeded AS SELECT random() AS first;
GRANT SELECT ON seeded TO PUBLIC;
`

// fingerprint is one text for all that can be seen of a session. The table and the functions of sessionSchema are found
// whatever the search path is.
const fingerprint = `SELECT pg_catalog.concat_ws(' ',
	'settings:', (SELECT pg_catalog.string_agg(name || '=' || setting, ',' ORDER BY name)
		FROM pg_catalog.pg_settings WHERE source = 'session'),
	'app:', nullif(pg_catalog.current_setting('app.tenant', true), ''),
		nullif(pg_catalog.current_setting('app.other', true), ''),
	'user:', current_user, session_user, pg_catalog.current_setting('role'),
	'listen:', (SELECT pg_catalog.string_agg(c, ',') FROM pg_catalog.pg_listening_channels() AS c),
	'temporary:', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend
		WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND refobjid = pg_catalog.pg_my_temp_schema()),
	'locks:', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks
		WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()),
	'prepared:', (SELECT pg_catalog.string_agg(name, ',') FROM pg_catalog.pg_prepared_statements
		WHERE from_sql OR NOT pg_catalog.starts_with(name, 'stmt')),
	'cursors:', (SELECT pg_catalog.string_agg(name, ',') FROM pg_catalog.pg_cursors WHERE is_holdable),
	'lastval:', public.has_lastval(),
	'seeded:', (SELECT pg_catalog.random() = first FROM public.seeded))`

// fingerprintOf leaves no statement prepared.
func fingerprintOf(t testing.TB, q querier) string {
	t.Helper()
	var seen string
	check.OK(t, q.QueryRowContext(t.Context(), fingerprint, pgx.QueryExecModeExec).Scan(&seen))
	return seen
}

// uses are the ways in which a text can run. Each returns when its connection is released.
var uses = []struct {
	name          string
	inTransaction bool
	run           func(ctx context.Context, db *sql.DB, text string) error
}{
	{"a sql.DB", false, func(ctx context.Context, db *sql.DB, text string) error {
		_, err := db.ExecContext(ctx, text)
		return err
	}},
	{"a sql.Tx", true, func(ctx context.Context, db *sql.DB, text string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, text); err != nil {
			_ = tx.Rollback()
			return err
		}
		return tx.Commit()
	}},
	{"a sql.Conn", false, func(ctx context.Context, db *sql.DB, text string) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.ExecContext(ctx, text)
		return err
	}},
	{"a session", false, func(ctx context.Context, db *sql.DB, text string) error {
		return session.Do(ctx, db, func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, text)
			return err
		})
	}},
	{"a transaction of a session", true, func(ctx context.Context, db *sql.DB, text string) error {
		return session.Do(ctx, db, func(ctx context.Context) error {
			return session.Tx(ctx, db, nil, func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, text)
				return err
			})
		})
	}},
	{"native code", false, func(ctx context.Context, db *sql.DB, text string) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return pgsafe.Raw(conn, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, text)
			return err
		})
	}},
}

// oneSession returns a database with sessionSchema, and a pool of one connection to it.
func oneSession(t testing.TB, params ...string) *sql.DB {
	t.Helper()
	db := open(t, pgsafe.DriverName, with(pgtest.Shared(t).Database(t), append(params, "pool_max_conns=1")...))
	setUp(t, db)
	return db
}

// setUp makes sessionSchema on a connection of its own.
func setUp(t testing.TB, db *sql.DB) {
	t.Helper()
	admin := beside(t, db)
	exec(t, admin, sessionSchema)
	check.OK(t, admin.Close())
}

func TestNoEffectOfATextReachesTheNextUser(t *testing.T) {
	db := oneSession(t)
	clean := fingerprintOf(t, db)
	var pid int
	check.OK(t, db.QueryRowContext(t.Context(), "select pg_backend_pid()").Scan(&pid))
	for _, use := range uses {
		t.Run("what texts leave in the session of "+use.name+" does not reach the next user", func(t *testing.T) {
			for _, text := range sessionTexts(t) {
				if use.inTransaction && strings.Contains(text.marks, "~") {
					continue
				}
				if err := use.run(t.Context(), db, text.text); err != nil {
					t.Errorf("%s: %v", text.text, err)
				}
				if left := fingerprintOf(t, db); left != clean {
					t.Errorf("%s\nleaves    %s\ninstead of %s", text.text, left, clean)
					exec(t, db, "discard all")
				}
			}
			check.Equal(t, one[int](t, db, "select pg_backend_pid()"), pid)
		})
	}
	t.Run("each text of the table has an effect while its user holds the connection", func(t *testing.T) {
		for _, text := range sessionTexts(t) {
			if strings.Contains(text.marks, "=") {
				continue
			}
			conn, err := db.Conn(t.Context())
			check.OK(t, err)
			_, err = conn.ExecContext(t.Context(), text.text)
			check.OK(t, err)
			if fingerprintOf(t, conn) == clean {
				t.Errorf("%s: nothing is left of it", text.text)
			}
			check.OK(t, conn.Close())
		}
	})
}
