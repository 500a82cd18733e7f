package pgsafe_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestDialect(t *testing.T) {
	// To node-postgres, sslmode=require checks the certificate.
	const dsn = "postgres://h/db?sslmode=require"
	t.Run("a plain string has libpq's meaning", func(t *testing.T) {
		uri, err := pgsafe.Dialect("").Normalize(dsn)
		if err != nil || uri != dsn {
			t.Errorf("%s, %v", uri, err)
		}
	})
	t.Run("a dialect that is named has its own", func(t *testing.T) {
		for _, name := range []string{"node", "jdbc"} {
			if !slices.Contains(urlfix.Dialects(), name) {
				t.Errorf("%s is not among %v", name, urlfix.Dialects())
			}
		}
		r, err := pgsafe.Dialect("node").Inspect(dsn)
		if err != nil || r.Dialect != "node" || r.URI != "postgres://h/db?sslmode=verify-full" {
			t.Errorf("%v, %v", r, err)
		}
	})
	t.Run("a dialect that is named in the string has, too", func(t *testing.T) {
		r, err := pgsafe.Inspect(dsn + "&pgsafe_dialect=node")
		if err != nil || r.Dialect != "node" || r.URI != "postgres://h/db?sslmode=verify-full" {
			t.Errorf("%v, %v", r, err)
		}
	})
	for _, c := range []struct {
		name, dialect, dsn string
		code               pgsafe.DSNCode
	}{
		{"the form of another dialect is refused", "jdbc", dsn, pgsafe.CodeConflict},
		{"a name that nobody has is refused", "perl", dsn, pgsafe.CodeValue},
		{"two names are refused", "node", dsn + "&pgsafe_dialect=prisma", pgsafe.CodeConflict},
		{"the keys of the pool are checked", "node", dsn + "&pool_max_conns=x", pgsafe.CodeValue},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, normalizeErr := pgsafe.Dialect(c.dialect).Normalize(c.dsn)
			_, inspectErr := pgsafe.Dialect(c.dialect).Inspect(c.dsn)
			_, openErr := pgsafe.Open(c.dsn, pgsafe.WithDialect(pgsafe.Dialect(c.dialect)))
			for _, err := range []error{normalizeErr, inspectErr, openErr} {
				var e *pgsafe.DSNError
				if !errors.As(err, &e) || e.Code != c.code {
					t.Errorf("%v, want %s", err, c.code)
				}
			}
		})
	}
}

func TestWithDialectOpensWhatItSays(t *testing.T) {
	uri := pgtest.Shared(t).Database(t)
	db, err := pgsafe.Open(uri+"&schema=odd%20name", pgsafe.WithDialect("prisma"))
	check.OK(t, err)
	defer db.Close()
	var path string
	check.OK(t, db.QueryRowContext(t.Context(), "SHOW search_path").Scan(&path))
	if path != `"odd name"` {
		t.Errorf("search_path is %s", path)
	}
}
