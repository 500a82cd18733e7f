package urlfix_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func BenchmarkNormalize(b *testing.B) {
	for _, c := range []struct{ name, dsn string }{
		{"canonical", "postgres://app:s3cretPw@db.example.com:5432/app?sslmode=require"},
		{"raw", "postgresql+psycopg2://lwe-admin:y5268[695t-13htgq244t5thj[8q9grq@postgres:5432/ai_workflow_engine?" +
			"sslmode=require"},
		{"recovered", "postgresql://u:a@b:c/d?e#f[g]h@h:5432/db"},
		{"keyword", "host=h port=5432 user=u password=s3cretPw dbname=d sslmode=require"},
		{"hostile", "postgres://" + strings.Repeat("@", 60<<10)},
		{"too long", "postgres://" + strings.Repeat("@", 1<<20)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _, _ = urlfix.Normalize(c.dsn, "")
			}
		})
	}
}

func TestACanonicalURIAllocatesLittle(t *testing.T) {
	const dsn = "postgres://app:s3cretPw@db.example.com:5432/app?sslmode=require"
	allocs := testing.AllocsPerRun(100, func() {
		if uri, _, _, err := urlfix.Normalize(dsn, ""); err != nil || uri != dsn {
			t.Error(uri, err)
		}
	})
	if allocs > 4 {
		t.Errorf("%v allocations, want 4 at most", allocs)
	}
}
