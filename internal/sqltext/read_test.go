package sqltext_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

func TestOperation(t *testing.T) {
	for sql, want := range map[string]string{
		"insert into a select * from b":  "INSERT",
		"create table a (b int)":         "CREATE TABLE",
		"with a as (select 1) table a":   "SELECT",
		"explain delete from a":          "EXPLAIN",
		"rollback to s":                  "ROLLBACK TO SAVEPOINT",
		"-- nothing":                     "",
		"begin; set local x = 5; commit": "BEGIN",
	} {
		if got := sqltext.Read(sql).Operation; got != want {
			t.Errorf("of %q it is %q, want %q", sql, got, want)
		}
	}
}

func TestBadInput(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct{ sql, summary, masked string }{
		"empty":                 {"", "", ""},
		"blank":                 {" \t\r\n\f\v ", "", ""},
		"not UTF-8 in a string": {"SELECT '\xff' FROM t", "SELECT t", "SELECT ? FROM t"},
		"not UTF-8 in names": {"SELECT a\xff FROM \"\xff\"", "SELECT \"\uFFFD\"",
			"SELECT \"a\uFFFD\" FROM \"\uFFFD\""},
		"not UTF-8 and a quote":         {"SELECT \xc3'secret'", "SELECT", "SELECT \"\uFFFD\"?"},
		"control characters":            {"SELECT\x01a\x7fFROM\x02t", "SELECT t", "SELECT a FROM t"},
		"a NUL, where the server stops": {"SELECT a FROM t WHERE\x00 secret", "SELECT t", "SELECT a FROM t ..."},
		"a NUL in a string":             {"SELECT 'a\x00' secret", "SELECT", "SELECT ? ..."},
		"a long string": {"SELECT a FROM t WHERE b = '" + big + "' AND c", "SELECT t",
			"SELECT a FROM t WHERE b = ? ..."},
		"a cut text has both readings":    {`SELECT 'a\' || secret ` + big, "SELECT", "SELECT ? ..."},
		"a long name, which is not shown": {"SELECT a FROM " + big, "SELECT", "SELECT a FROM ..."},
		"a long comment":                  {"SELECT a /*" + big + "*/ FROM t", "SELECT", "SELECT a ..."},
		"a long quoted name":              {`SELECT a FROM "` + big[:5000] + `" b; c`, "SELECT", "SELECT a FROM ..."},
		"a long list": {"SELECT a FROM t WHERE b IN (1" + strings.Repeat(",1", 4000) + ") LIMIT 1",
			"SELECT t", "SELECT a FROM t WHERE b IN (?) LIMIT ?"},
		"signs that go-sqllexer knows not": {"SELECT `a` \\ {b} ~", "SELECT", "SELECT `a` \\ {b} ~"},
	} {
		t.Run("a text is summarised and masked: "+name, func(t *testing.T) {
			got := sqltext.Read(c.sql)
			if got.Summary != c.summary || got.Masked != c.masked {
				t.Errorf("it gives %q, %q; want %q, %q", got.Summary, got.Masked, c.summary, c.masked)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Run("a summary is cut between two names", func(t *testing.T) {
		table := "table_of_20_letters_"
		got := sqltext.Read("SELECT * FROM " + strings.TrimSuffix(strings.Repeat(table+", ", 100), ", ")).Summary
		if want := "SELECT" + strings.Repeat(" "+table, 11); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	})
	t.Run("a summary ends before a name that does not fit", func(t *testing.T) {
		got := sqltext.Read("SELECT * FROM a, " + strings.Repeat("b", 300) + ", c; COMMIT").Summary
		if got != "SELECT a" {
			t.Errorf("it is %q", got)
		}
	})
	t.Run("a masked text is cut after a token and marked", func(t *testing.T) {
		got := sqltext.Read("SELECT " + strings.Repeat("column_é, ", 1000)).Masked
		if !strings.HasSuffix(got, "column_é, ...") && !strings.HasSuffix(got, "column_é ...") {
			t.Errorf("it ends in %q", got[len(got)-20:])
		}
		if len(got) > 4096 || len(got) < 4000 || !utf8.ValidString(got) {
			t.Errorf("it has %d bytes, valid: %t", len(got), utf8.ValidString(got))
		}
	})
}
