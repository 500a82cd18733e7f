package urlfix_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// twice are two different values of each parameter that names the server or the user, or protects
// the connection.
var twice = []struct{ key, one, other string }{
	{"sslmode", "verify-full", "disable"}, {"host", "h1", "h2"}, {"hostaddr", "192.0.2.1", "192.0.2.2"},
	{"port", "5432", "5433"}, {"user", "u", "v"}, {"password", "s3cretPw9", "other"}, {"dbname", "d", "e"},
	{"sslrootcert", "a.pem", "b.pem"}, {"sslrootcert", "a.pem", ""}, {"channel_binding", "require", "disable"},
	{"require_auth", "scram-sha-256", "password"}, {"require_auth", "scram-sha-256", ""},
	{"target_session_attrs", "primary", "any"}, {"sslcert", "a.pem", "b.pem"}, {"sslkey", "a.pem", "b.pem"},
	{"sslcrl", "a.pem", ""}, {"sslnegotiation", "direct", "postgres"}, {"sslcertmode", "require", "disable"},
	{"ssl_min_protocol_version", "TLSv1.3", "TLSv1.2"}, {"requirepeer", "postgres", "root"},
	{"sslpassword", "s3cretPw9", "other"}, {"service", "a", "b"},
}

// dialectsOfURIs are the dialects in which a plain postgres:// string may be read.
var dialectsOfURIs = []string{"", "libpq", "pgx", "libpq-go", "asyncpg", "django", "rails", "ecto", "node", "postgresjs",
	"prisma"}

func TestTwoValuesOfADecisiveParameterAreRefused(t *testing.T) {
	for _, c := range twice {
		for _, order := range [][2]string{{c.one, c.other}, {c.other, c.one}} {
			query := c.key + "=" + order[0] + "&" + c.key + "=" + order[1]
			for _, dialect := range dialectsOfURIs {
				name := query + " in a URI of " + dialect + " is refused"
				t.Run(name, func(t *testing.T) {
					d, err := urlfix.ParseAs("postgres:///?"+query, dialect)
					if err == nil {
						t.Fatalf("accepted as %v", d)
					}
					known := []urlfix.Code{urlfix.CodeConflict, urlfix.CodeUnsupported, urlfix.CodeSyntax}
					if !slices.Contains(known, code(err)) {
						t.Errorf("%s: %v", code(err), err)
					}
				})
			}
			t.Run(query+" as keywords is refused", func(t *testing.T) {
				d, err := urlfix.Parse(c.key + "='" + order[0] + "' " + c.key + "='" + order[1] + "'")
				if code(err) != urlfix.CodeConflict {
					t.Errorf("%v, %v", d, err)
				}
			})
		}
	}
}

func TestTwoNamesOfOneParameterAreCompared(t *testing.T) {
	const c = urlfix.CodeConflict
	checkRefusal(t, []refusal{
		{"the database of the path and dbname", "postgres://u@h/db?dbname=other", c, "database"},
		{"the database of the path and database", "postgres://u@h/db?database=other", c, "database"},
		{"the same for lib/pq", "postgres://u@h/db?database=other&pgsafe_dialect=libpq-go", c, "database"},
		{"database and dbname", "postgres://u@h?database=a&dbname=b", c, "database"},
		{"database and dbname as keywords", "dbname=a database=b", c, "database"},
		{"a path and database for SQLAlchemy", "postgresql+psycopg2://u@h/db?database=other", c, "database"},
		{"an alias of sslmode in Npgsql", "Host=h;SSL Mode=VerifyFull;SslMode=Disable", c, "SSL Mode"},
		{"an alias of the certificate in Npgsql", "Host=h;SSL Certificate=a.pem;Client Certificate=b.pem", c,
			"SSL Certificate"},
		{"PGHOST and host in JDBC", "jdbc:postgresql:db?PGHOST=a&host=b", c, "host"},
		{"sslmode twice in JDBC", "jdbc:postgresql://h/db?sslmode=verify-full&sslmode=disable", c, "sslmode"},
		{"ssl and no TLS in JDBC", "jdbc:postgresql://h/db?ssl=true&sslmode=disable", c, "sslmode"},
		{"ssl and a weaker sslmode in node-postgres", "pg://u@h/db?ssl=true&sslmode=no-verify", c, "sslmode"},
		{"ssl and a weaker sslmode in Ecto", "ecto://u@h/db?ssl=true&sslmode=require", c, "sslmode"},
		{"a value in another case of the key", "host=h;Host=i;Username=u", c, "Host"},
		{"semicolons in PDO", "pgsql:host=h;sslmode=verify-full;sslmode=disable", c, "sslmode"},
		{"the password of a socket URL", "socket:/tmp?db=d&password=s3cretPw9&password=other", c, "password"},
		{"a host twice in asyncpg", "postgres:///db?host=h1&host=h2&pgsafe_dialect=asyncpg", c, "host"},
	})
	checkMeaning(t, []means{
		{"JDBC's sslmode outranks ssl", "jdbc:postgresql://h/db?ssl=true&sslmode=require",
			"postgres://h/db?sslmode=require"},
		{"JDBC's PGDBNAME outranks the path", "jdbc:postgresql://h/db?PGDBNAME=other", "postgres://h/other"},
		{"SQLAlchemy makes a list of hosts", "postgresql+psycopg2:///db?host=h1&host=h2", "postgres:///db?host=h1,h2"},
		{"the same value twice", "postgres://u@h/db?sslmode=require&sslmode=require&dbname=db&user=u",
			"postgres://u@h/db?sslmode=require"},
		{"asyncpg has a rule for the path", "postgres://u@h/db?database=other&pgsafe_dialect=asyncpg",
			"postgres://u@h/db"},
	})
}

// FuzzTwoValues holds that no string with two different values of a decisive parameter opens,
// whatever stands around them.
func FuzzTwoValues(f *testing.F) {
	for i := range twice {
		f.Add(i, "h/db", "application_name=x", "")
		f.Add(i, "u:p@h", "", "pool_max_conns=5")
		f.Add(i, "", "schema=app", "connect_timeout=5")
	}
	f.Fuzz(func(t *testing.T, i int, server, before, between string) {
		c := twice[(i%len(twice)+len(twice))%len(twice)]
		if strings.ContainsAny(server, "?#@") || strings.ContainsAny(before+between, "#;' ") {
			return // that could make the parameters a part of something else
		}
		one, other := c.key+"="+c.one, c.key+"="+c.other
		for _, order := range [][2]string{{one, other}, {other, one}} {
			query := strings.Trim(strings.Join([]string{before, order[0], between, order[1]}, "&"), "&")
			for _, dialect := range dialectsOfURIs {
				if d, err := urlfix.ParseAs("postgres://"+server+"?"+query, dialect); err == nil {
					t.Errorf("postgres://%s?%s of %q is accepted as %v", server, query, dialect, d)
				}
			}
			if strings.ContainsAny(before+between, "=&\\") {
				continue
			}
			words := order[0] + " application_name='" + between + "' " + order[1]
			if d, err := urlfix.Parse(words); err == nil {
				t.Errorf("%s is accepted as %v", words, d)
			}
		}
	})
}
