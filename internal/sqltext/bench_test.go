package sqltext_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

const typical = `SELECT "u"."id", "u"."name", count(*) AS n FROM "public"."users" AS "u"
	JOIN orders o ON o.user_id = u.id WHERE u.email = $1 AND o.state IN ('paid', 'sent') AND o.total > 100.50
	GROUP BY u.id, u.name ORDER BY n DESC LIMIT 20`

func BenchmarkGet(b *testing.B) {
	c := sqltext.NewCache(1000, sqltext.Read)
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Get(typical)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.Get(typical)
			}
		})
	})
}

func BenchmarkGetOfNewTexts(b *testing.B) {
	c := sqltext.NewCache(1000, func(string) int { return 0 })
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Get("SELECT " + strconv.Itoa(i))
	}
}

func BenchmarkRead(b *testing.B) {
	fill := func(piece string) string { return strings.Repeat(piece, 1<<20/len(piece)) }
	for _, c := range []struct{ name, sql string }{
		{"short", "SELECT * FROM users WHERE id = $1"},
		{"typical", typical},
		{"1 MB of rows", "INSERT INTO t (a, b) VALUES " + fill("(1, 'x'), ")},
		{"1 MB of a string", "SELECT '" + fill("x") + "'"},
		{"1 MB of backslashed quotes", "SELECT " + fill(`'\', `)},
		{"1 MB of dollar signs", "SELECT " + fill("$a$b")},
		{"1 MB of parentheses", "SELECT * FROM " + fill("(")},
		{"1 MB of queries", fill("(SELECT * FROM a, b, (")},
		{"1 MB of comments", fill("/*")},
		{"1 MB of lines", fill("'' --\n")},
		{"1 MB of statements", fill("EXPLAIN ")},
		{"1 MB of WITH", "WITH " + fill("a AS (SELECT 1 FROM a), ")},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sqltext.Read(c.sql)
			}
		})
	}
}

func BenchmarkMayLeave(b *testing.B) {
	for _, c := range []struct{ name, sql string }{
		{"short", "SELECT * FROM users WHERE id = $1"},
		{"typical", typical},
		{"an update", `UPDATE "users" AS "u" SET "name" = $1, "changed" = now() WHERE "u"."id" = $2 RETURNING "u"."id"`},
		{"named", "-- name: ListUsers :many\n" + typical},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sqltext.MayLeave(c.sql)
			}
		})
	}
}
