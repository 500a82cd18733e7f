package urlfix_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// checkLeftOut checks that each key is left out of prefix+key+"=1", with a note to the user.
func checkLeftOut(t *testing.T, prefix, uri, keys string) {
	t.Helper()
	for key := range strings.FieldsSeq(keys) {
		t.Run(key+" is left out", func(t *testing.T) {
			d := mustParse(t, prefix+key+"=1")
			if d.URI() != uri || d.Pool != nil || d.Driver != nil || len(d.Warnings)+len(d.Changes) == 0 {
				t.Errorf("%s, %v, %v, warnings %v, changes %v", d.URI(), d.Pool, d.Driver, d.Warnings, d.Changes)
			}
		})
	}
}

func TestSchemesAndFormsShowTheDialect(t *testing.T) {
	for dsn, want := range map[string]string{
		"jdbc:postgresql://h/db":          "jdbc",
		"JDBC:PostgreSQL://h/db":          "jdbc",
		"pgsql:host=h":                    "pdo",
		"pgsql://h/db":                    "django",
		"psql://h/db":                     "django",
		"postgis://h/db":                  "django",
		"timescale://h/db":                "django",
		"timescalegis://h/db":             "django",
		"timescaledb://h/db":              "django",
		"redshift://h/db":                 "django",
		"cockroach://h/db":                "django",
		"pdo-pgsql://h/db":                "doctrine",
		"pdo_pgsql://h/db":                "doctrine",
		"ecto://h/db":                     "ecto",
		"pgx://h/db":                      "golang-migrate",
		"pgx4://h/db":                     "golang-migrate",
		"pgx5://h/db":                     "golang-migrate",
		"crdb-postgres://h/db":            "golang-migrate",
		"yugabyte://h/db":                 "golang-migrate",
		"yugabytedb://h/db":               "golang-migrate",
		"pg:/tmp/db":                      "dburl",
		"pg+unix:/tmp/db":                 "dburl",
		"pgsql+unix:/tmp/db":              "dburl",
		"postgres+unix:/tmp/db":           "dburl",
		"postgresql+unix:/tmp/db":         "dburl",
		"postgres+unix:///tmp/db":         "dburl",
		"Host=h;Username=u":               "npgsql",
		"Server=h":                        "npgsql",
		"host=h;":                         "npgsql",
		"host=h;port=5432":                "npgsql",
		"host=h port=5432":                "libpq-keyword",
		"host=h":                          "libpq-keyword",
		"TimeZone=UTC host=h":             "libpq-keyword",
		"password=a;b host=h":             "libpq-keyword",
		"postgresql+aiopg://h/db":         "sqlalchemy+psycopg2",
		"postgresql+psycopg2cffi://h/db":  "sqlalchemy+psycopg2",
		"redshift+psycopg2://h/db":        "sqlalchemy+psycopg2",
		"timescaledb+psycopg2://h/db":     "sqlalchemy+psycopg2",
		"postgresql://h/db?pool_size=5":   "libpq",
		"postgresql://h/db?serverVersion": "libpq",
	} {
		t.Run(dsn, func(t *testing.T) {
			d, err := urlfix.Parse(dsn)
			if err != nil && want != "libpq" {
				t.Fatal(err)
			}
			if err == nil && d.Dialect != want {
				t.Errorf("%s, want %s", d.Dialect, want)
			}
		})
	}
}

// TestTLSIsNeverWeakenedByATranslation has the places where a parameter means more to its tool than to libpq.
func TestTLSIsNeverWeakenedByATranslation(t *testing.T) {
	const plain = "postgres://h/db?"
	checkMeaning(t, []means{
		{"JDBC's ssl=true checks the certificate", "jdbc:postgresql://h/db?ssl=true", plain + "sslmode=verify-full"},
		{"JDBC's ssl without a value checks the certificate", "jdbc:postgresql://h/db?ssl", plain + "sslmode=verify-full"},
		{"JDBC's ssl=true in a plain URI checks the certificate", plain + "ssl=true&ApplicationName=x",
			plain + "sslmode=verify-full&application_name=x"},
		{"Java's factory checks it in every mode",
			"jdbc:postgresql://h/db?sslmode=require&sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory",
			plain + "sslmode=verify-full&sslrootcert=system"},
		{"Java's factory checks it in every mode of a plain URI",
			plain + "sslmode=prefer&sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory",
			plain + "sslmode=verify-full&sslrootcert=system"},
		{"Ecto's ssl=true checks the certificate", "ecto://h/db?ssl=true", plain + "sslmode=verify-full&sslrootcert=system"},
		{"Ecto's ssl=true in a plain URI checks the certificate", plain + "ssl=true&pool_size=5",
			plain + "sslmode=verify-full&sslrootcert=system"},
		{"Ecto's ssl=true outranks a weaker sslmode", plain + "ssl=true&sslmode=require&queue_target=5",
			plain + "sslmode=verify-full&sslrootcert=system"},
		{"Npgsql before 6 checked it unless told not to",
			"Host=h;Database=db;SSL Mode=Require;Trust Server Certificate=false", plain + "sslmode=verify-full"},
		{"Npgsql's VerifyFull checks it", "Host=h;Database=db;SSL Mode=VerifyFull", plain + "sslmode=verify-full"},
	})
	checkRefusal(t, []refusal{
		{"verify-ca of JDBC without a root", "jdbc:postgresql://h/db?sslmode=verify-ca", urlfix.CodeValue, "sslmode"},
		{"VerifyCA of Npgsql without a root", "Host=h;SSL Mode=VerifyCA", urlfix.CodeValue, "sslmode"},
		{"asyncpg's ssl=true under SQLAlchemy", "postgresql+asyncpg://h/db?ssl=true", urlfix.CodeValue, "ssl"},
		{"ssl=true for psycopg", "postgis://h/db?ssl=true", urlfix.CodeUnsupported, "ssl"},
		{"ssl=true next to sslmode=disable", plain + "ssl=true&sslmode=disable&pool_size=5", urlfix.CodeConflict, "sslmode"},
		{"Ecto's ssl=false next to an sslmode that checks", "ecto://h/db?ssl=false&sslmode=verify-full", urlfix.CodeConflict,
			"sslmode"},
		{"a factory that checks nothing next to an sslmode that checks",
			"jdbc:postgresql://h/db?sslmode=verify-full&sslfactory=org.postgresql.ssl.NonValidatingFactory", urlfix.CodeConflict,
			"sslfactory"},
	})
	t.Run("lib/pq's ssl=true insists on TLS", func(t *testing.T) {
		for _, dsn := range []string{"postgres://h/db", "host=h dbname=db"} {
			d, err := urlfix.ParseAs(dsn, "libpq-go")
			if err != nil || d.URI() != plain+"sslmode=require" {
				t.Errorf("%v, %v", d, err)
			}
		}
	})
}

func TestALongHostileStringOfAToolIsReadOnce(t *testing.T) {
	// As in TestALongHostileStringIsReadOnce, quadratic work would take minutes.
	for _, filler := range []string{"@", "%", "@%41", ",", "/", "?", "a=b&", "&", "user=u&", ";", "Port=1;",
		"Port=1;Host=;", `""`, "''", "' ;", "'';", "/:1", "=", "a"} {
		for _, form := range []string{
			"jdbc:postgresql:", "jdbc:postgresql://", "jdbc:postgresql://h/d?", "jdbc:postgresql://h/d?password=", "Host=h;",
			`Host=h;Password="`,
			"pgsql:", "pgsql:host='", "pgsql:password=", "pg:", "pg:u:", "ecto://", "postgis:////", "pgx5://h/d?x-lock-table=",
			"postgres://h/d?pool_size=1&currentSchema=",
		} {
			n := (urlfix.MaxLength - len(form)) / len(filler)
			_, _ = urlfix.Parse(form + strings.Repeat(filler, n))
		}
	}
}
