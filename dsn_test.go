package pgsafe_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

const (
	dsnRaw = "postgresql+psycopg2://lwe-admin:y5268[695t-13htgq244t5thj[8q9grq" +
		"@postgres:5432/ai_workflow_engine?sslmode=require"
	dsnCanonical = "postgres://lwe-admin:y5268%5B695t-13htgq244t5thj%5B8q9grq" +
		"@postgres:5432/ai_workflow_engine?sslmode=require"
	dsnPassword = "y5268[695t-13htgq244t5thj[8q9grq"
)

func TestNormalize(t *testing.T) {
	for _, c := range []struct{ name, dsn, want string }{
		{"Normalize accepts a raw password", dsnRaw, dsnCanonical},
		{"Normalize keeps a canonical URI", dsnCanonical, dsnCanonical},
		{"Normalize drops the keys of the pool", "host=h pool_max_conns=5", "postgres://h/"},
		{"Normalize turns server settings into options", "postgres://h/db?search_path=app",
			"postgres://h/db?options=-c%20search_path%3Dapp"},
		{"Normalize turns an empty string into an empty URI", "", "postgres:///"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := pgsafe.Normalize(c.dsn)
			if err != nil || got != c.want {
				t.Errorf("got %s, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestDSNErrorOfEachCode(t *testing.T) {
	for _, c := range []struct {
		dsn  string
		code pgsafe.DSNCode
	}{
		{"u:" + dsnPassword + "@h/db", pgsafe.CodeSyntax},
		{"postgresql://user:1234/word@host:5432/db", pgsafe.CodeAmbiguous},
		{"postgres://h/db?password=x&" + dsnPassword + "=1", pgsafe.CodeUnknownKey},
		{"jdbc:postgresql://h/db?socketFactory=f&password=" + dsnPassword, pgsafe.CodeUnsupported},
		{"mysql://u:" + dsnPassword + "@h/db", pgsafe.CodeOtherDatabase},
		{"postgres://u:" + dsnPassword + "@h/db?password=x", pgsafe.CodeConflict},
		{"postgres://u:" + dsnPassword + "@h:port/db", pgsafe.CodeValue},
		{"postgres://u:" + dsnPassword + "@h/db\n", pgsafe.CodeControlCharacter},
		{strings.Repeat(dsnPassword, 40_000), pgsafe.CodeTooLong},
	} {
		t.Run("an invalid string has the code "+string(c.code), func(t *testing.T) {
			_, err := pgsafe.Normalize(c.dsn)
			_, inspectErr := pgsafe.Inspect(c.dsn)
			var e *pgsafe.DSNError
			if !errors.As(err, &e) || e.Code != c.code || inspectErr == nil || inspectErr.Error() != err.Error() {
				t.Fatalf("%v, %v; want %s", err, inspectErr, c.code)
			}
			if errors.Unwrap(err) != nil || !strings.HasPrefix(err.Error(), "pgsafe: invalid connection string: ") {
				t.Errorf("%v", err)
			}
			if pgtest.Shows(printed(t, err), dsnPassword) || pgtest.Shows(pgsafe.Redact(c.dsn), dsnPassword) {
				t.Errorf("the password is in %v or %s", err, pgsafe.Redact(c.dsn))
			}
		})
	}
}

func TestInspect(t *testing.T) {
	r, err := pgsafe.Inspect(dsnRaw + "&sslpassword=" + "y5268%5B695t" + "&pool_max_conns=5&pgsafe_conn=native")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"dialect":"sqlalchemy+psycopg2","hosts":[{"name":"postgres","port":5432}],"user":"lwe-admin",` +
		`"database":"ai_workflow_engine","has_password":true,` +
		`"uri":"postgres://lwe-admin:***@postgres:5432/ai_workflow_engine?sslmode=require\u0026sslpassword=***",` +
		`"params":[{"key":"sslmode","value":"require"},{"key":"sslpassword","value":"***"}],` +
		`"pool":[{"key":"pool_max_conns","value":"5"}],"driver":[{"key":"pgsafe_conn","value":"native"}],` +
		`"changes":[{"part":"scheme","text":"the name of SQLAlchemy's driver was cut off"}]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	t.Run("a report shows no secret", func(t *testing.T) {
		if text := printed(t, r) + printed(t, *r); pgtest.Shows(text, dsnPassword) {
			t.Errorf("the password is in %s", text)
		}
	})
	t.Run("a report has settings and warnings", func(t *testing.T) {
		r, err := pgsafe.Inspect("postgres://h/db?search_path=app&ssl=true")
		if err != nil || len(r.Settings) != 1 || len(r.Warnings) != 1 || r.HasPassword {
			t.Errorf("%+v %v", r, err)
		}
	})
}

func TestRedact(t *testing.T) {
	for _, c := range []struct{ name, dsn, want string }{
		{"Redact masks the password", dsnRaw, "postgres://lwe-admin:***@postgres:5432/ai_workflow_engine?sslmode=require"},
		{"Redact masks the password of the client key", "postgres://h/db?sslpassword=x", "postgres://h/db?sslpassword=***"},
		{"Redact keeps a string without secrets", "host=h user=u", "postgres://u@h/"},
		{"Redact shows nothing of an invalid string", "postgres://u:" + dsnPassword + "@h:x/db",
			"postgres://[unparseable, 52 bytes]"},
		{"Redact hides a setting of the application", "postgres://h/db?app.jwt_token=s3cretPw9",
			"postgres://h/db?options=-c%20app.jwt_token%3D***"},
		{"Redact hides what follows a colon in the user", "postgres://app%3As3cretPw9@h/db", "postgres://app%3A***@h/db"},
		{"Redact shows no host out of a password", "postgres://user:p@%2FsuperSecret9@db.example.com:5432/app",
			"postgres://[unparseable, 57 bytes]"},
		{"Redact shows no unknown scheme", dsnPassword + "://h", "[unparseable, 36 bytes]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := pgsafe.Redact(c.dsn); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// printed returns v in every form that a program might print.
func printed(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	slog.New(slog.NewJSONHandler(&b, nil)).Info("json", "v", v)
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	return b.String()
}

func BenchmarkNormalize(b *testing.B) {
	for _, c := range []struct{ name, dsn string }{
		{"plain", "postgres://app:s3cretPw@db.example.com:5432/app?sslmode=require"},
		{"canonical", dsnCanonical},
		{"raw", dsnRaw},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := pgsafe.Normalize(c.dsn); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestASecretInTheWrongPartIsHidden(t *testing.T) {
	const secret = "s3cretPw9"
	dsn := "postgres://app%3A" + secret + "@127.0.0.1:1/db?app.jwt_token=" + secret + "&options=-c%20app.x%3D" + secret
	r, err := pgsafe.Inspect(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pgsafe.NewConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, connectErr := c.Connect(t.Context())
	if connectErr == nil {
		t.Fatal("a connection was made")
	}
	for name, v := range map[string]any{"a report": r, "a connector": c, "the error of a connect": connectErr} {
		t.Run(name+" shows neither a colon's rest in the user nor an application's setting", func(t *testing.T) {
			if text := printed(t, v); pgtest.Shows(text, secret) {
				t.Errorf("%s", text)
			}
		})
	}
	t.Run("Dialect.Redact hides what its tool takes for the password", func(t *testing.T) {
		got := pgsafe.Dialect("node").Redact("postgres://user:p@%2FsuperSecret9@db.example.com/app")
		if got != "postgres://user:***@db.example.com/app" {
			t.Error(got)
		}
	})
}

func TestOpenAndNormalizeAgree(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:p@,/db", "postgres://u:p@,,/db", "postgres://u:p@,:5433/db", "postgres://u:p@h,/db",
		"postgres:///db?host=,", "postgres:///db?host=,&port=5433", "postgres://,/db?hostaddr=127.0.0.1,127.0.0.1",
	} {
		t.Run("Normalize and Open accept "+dsn, func(t *testing.T) {
			if _, err := pgsafe.Normalize(dsn); err != nil {
				t.Errorf("Normalize: %v", err)
			}
			c, err := pgsafe.NewConnector(dsn)
			if err != nil {
				t.Fatalf("NewConnector: %v", err)
			}
			_ = c.Close()
		})
	}
}
