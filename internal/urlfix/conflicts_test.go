package urlfix_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

func TestNoToolDecidesBetweenSSLAndSSLModeInAPlainURI(t *testing.T) {
	const base = "postgres://u:p@h/d?"
	checkRefusal(t, []refusal{
		{"postgres.js", base + "ssl=verify-full&sslmode=disable&max_lifetime=5", urlfix.CodeConflict, "sslmode"},
		{"postgres.js, weaker", base + "max_lifetime=5&sslmode=require&ssl=verify-full", urlfix.CodeConflict, "sslmode"},
		{"node-postgres", base + "ssl=1&sslmode=disable&uselibpqcompat=true", urlfix.CodeConflict, "sslmode"},
		{"node-postgres, weaker", base + "uselibpqcompat=true&sslmode=require&ssl=verify-full", urlfix.CodeConflict,
			"sslmode"},
		{"Prisma", base + "ssl=true&sslmode=allow&schema=a", urlfix.CodeConflict, "sslmode"},
		{"Prisma by name", base + "ssl=verify-full&sslmode=allow&pgsafe_dialect=prisma", urlfix.CodeConflict, "sslmode"},
		{"Rails' requiressl", base + "ssl=verify-full&requiressl=1", urlfix.CodeConflict, "requiressl"},
		{"ssl twice", base + "ssl=verify-full&ssl=true", urlfix.CodeConflict, "ssl"},
		{"a factory of JDBC's", base + "ssl=verify-full&sslfactory=org.postgresql.ssl.NonValidatingFactory",
			urlfix.CodeConflict, "sslfactory"},
	})
	checkMeaning(t, []means{
		{"ssl and sslmode that agree", base + "ssl=true&sslmode=require&max=5", "postgres://u:p@h/d?sslmode=verify-full"},
		{"a factory with true", base + "ssl=true&sslfactory=org.postgresql.ssl.NonValidatingFactory",
			"postgres://u:p@h/d?sslmode=require"},
	})
}

func TestLibPQRequiresTLSWithARootCertificateToo(t *testing.T) {
	for _, dsn := range []string{"postgres://u:p@h/d?sslrootcert=ca.pem", "host=h user=u sslrootcert=ca.pem"} {
		d, err := urlfix.ParseAs(dsn, "libpq-go")
		if err != nil {
			t.Fatal(err)
		}
		if uri := d.URI(); !strings.Contains(uri, "sslmode=require") {
			t.Errorf("TLS is not required: %s", uri)
		}
	}
}

func TestOnlyAParameterNamesADialect(t *testing.T) {
	checkRefusal(t, []refusal{
		{"pgsafe_dialect in the password", "postgres://u:pgsafe_dialect=node@h/d?sslmode=require", urlfix.CodeAmbiguous,
			"pgsafe_dialect"},
		{"pgsafe_dialect in another value", "postgres://u:p@h/d?application_name=pgsafe_dialect=node", urlfix.CodeAmbiguous,
			"pgsafe_dialect"},
		{"pgsafe_dialect percent-encoded", "postgres://u:p@h/d?pgsafe%5Fdialect=node&sslmode=require", urlfix.CodeAmbiguous,
			"pgsafe_dialect"},
	})
}

func TestPortsInTheHostsOfAQuery(t *testing.T) {
	checkMeaning(t, []means{
		{"each host with its own port", "postgres:///db?host=h1:5433,h2:5434", "postgres://h1:5433,h2:5434/db"},
		{"some hosts without a port, and a socket", "postgres:///db?host=127.0.0.1:5433,/cloudsql/p:r:i,localhost:5434",
			"postgres://127.0.0.1:5433,%2Fcloudsql%2Fp%3Ar%3Ai,localhost:5434/db"},
		{"SQLAlchemy", "postgresql+psycopg2:///db?host=h1:5433,h2:5434", "postgres://h1:5433,h2:5434/db"},
		{"an address of IPv6 without a port", "postgres:///db?host=::1", "postgres://[::1]/db"},
	})
}

func TestAParameterInANameIsRefused(t *testing.T) {
	checkRefusal(t, []refusal{
		{"a password behind a semicolon", "jdbc:postgresql://h/db?user=u;password=s3cretPw", urlfix.CodeValue,
			"user"},
		{"a password behind an ampersand", "postgres://u@h/db&PASSWORD=s3cretPw", urlfix.CodeValue, "database"},
	})
	checkRefusal(t, []refusal{
		{"commas in libpq's form", "user=u,password=s3cretPw9 host=h dbname=d", urlfix.CodeValue, "user"},
		{"a blank in ADO.NET's form", "Host=h;Database=d Password=s3cretPw9;Username=u", urlfix.CodeValue, "database"},
		{"blanks around the equals sign", "Host=h;Database=d Password = s3cretPw9;Username=u", urlfix.CodeValue,
			"database"},
		{"a comma in the path", "postgres://u@h/db,password=s3cretPw9", urlfix.CodeValue, "database"},
		{"a semicolon in JDBC", "jdbc:postgresql://h/db?ApplicationName=x;password=s3cretPw9", urlfix.CodeValue,
			"application_name"},
		{"pwd in a blank", "Host=h;Application Name=x Pwd=s3cretPw9", urlfix.CodeValue, "application_name"},
		{"passwd in the options", "host=h options='-c a=b,passwd=s3cretPw9'", urlfix.CodeValue, "options"},
		{"a tab in the user", "postgres://u%09password=s3cretPw9@h/db", urlfix.CodeValue, "user"},
		{"a password in a socket directory", "postgres:///db?host=/tmp,password%3Ds3cretPw9", urlfix.CodeValue, "host"},
		{"a password in a file name", "host=h sslrootcert=ca.pem;password=s3cretPw9", urlfix.CodeAmbiguous, "sslrootcert"},
		{"a password in a setting", "postgres://h/db?search_path=a;password%3Ds3cretPw9", urlfix.CodeValue,
			"search_path"},
		{"a password in a setting of the application", "host=h app.x='y,password=s3cretPw9'", urlfix.CodeValue,
			"server setting"},
		{"sslmode without a question mark", "postgres://u:p@h/db&sslmode=verify-full", urlfix.CodeSyntax, "database"},
		{"a key of the pool without a question mark", "postgres://u:p@h/orders&pool_max_conns=30", urlfix.CodeSyntax,
			"database"},
		{"a key of the driver without a question mark", "postgres://u:p@h/orders&pgsafe_conn=native", urlfix.CodeSyntax,
			"database"},
		{"a key of another tool", "postgres://u:p@h/orders&schema=app", urlfix.CodeSyntax, "database"},
		{"a query in a keyword", "host=h dbname=orders?connect_timeout=5", urlfix.CodeSyntax, "database"},
	})
	checkMeaning(t, []means{
		{"a password may hold a parameter", "postgres://u:password=x;pwd=y@h/db",
			"postgres://u:password%3Dx%3Bpwd%3Dy@h/db"},
		{"a database may hold an ampersand", "postgres://u@h/r&d=x", "postgres://u@h/r%26d%3Dx"},
		{"a setting of passwords", "postgres://h/db?options=-c%20password_encryption%3Dmd5",
			"postgres://h/db?options=-c%20password_encryption%3Dmd5"},
	})
}

func TestAHashEndsTheAuthorityOfRFC3986(t *testing.T) {
	checkRefusal(t, []refusal{
		{"the text before a hash may be the server", "postgres://u:p@ss#w@host/db", urlfix.CodeAmbiguous, "string"},
	})
	checkMeaning(t, []means{{"a port that is none leaves one reading", "postgres://u:p/ss#w@host/db",
		"postgres://u:p%2Fss%23w@host/db"}})
}

func TestARepeatedKeyOfJDBCIsRefused(t *testing.T) {
	checkWarnings(t, []noted{{"a key of a tool", "jdbc:postgresql://h/d?connectTimeout=5&connectTimeout=6",
		"connectTimeout"}})
}

func TestHostsAreLimited(t *testing.T) {
	checkRefusal(t, []refusal{
		{"too many hosts in the authority", "postgres://" + strings.Repeat("h,", 1000) + "h/d", urlfix.CodeTooLong, "hosts"},
		{"too many hosts in the query", "postgres:///d?host=" + strings.Repeat(",", 1000), urlfix.CodeTooLong, "hosts"},
		{"too many hosts in keywords", "host=" + strings.Repeat("h,", 1000) + "h", urlfix.CodeTooLong, "hosts"},
	})
}

func TestKeysOfOtherTools(t *testing.T) {
	checkRefusal(t, []refusal{
		{"JDBC would ignore hostaddr", "jdbc:postgresql://h/db?hostaddr=192.0.2.1", urlfix.CodeUnsupported, "hostaddr"},
		{"Npgsql would refuse hostaddr", "Host=h;Username=u;hostaddr=192.0.2.1", urlfix.CodeUnknownKey, "hostaddr"},
		{"Npgsql would refuse libpq's dbname", "host=h;port=5432;dbname=d", urlfix.CodeUnknownKey, "dbname"},
	})
	checkMeaning(t, []means{{"django-prometheus has schemes of its own", "prometheus-postgresql://u:p@h/db",
		"postgres://u:p@h/db"}})
}

func TestKeywordsOfLibPQ(t *testing.T) {
	checkRefusal(t, []refusal{
		{"a backslash before the blank", `host=h password=secret12\ dbname=d`, urlfix.CodeAmbiguous, "password"},
		{"lib/pq's inline certificates", "host=h sslinline=true", urlfix.CodeUnsupported, "sslinline"},
		{"Ecto's timeout", "ecto://u:p@h/d?timeout=123binrem", urlfix.CodeValue, "timeout"},
	})
	d := mustParse(t, "host=h user=u sslmode=disable binary_parameters=yes")
	if len(d.Driver) != 1 || d.Driver[0].Value != "exec" {
		t.Errorf("binary_parameters became %v", d.Driver)
	}
}
