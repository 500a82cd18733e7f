package urlfix_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

const secret = "Zq7!Xw9#Vk3"

// everyForm prints v in all the ways a program might.
func everyForm(t testing.TB, v any) string {
	t.Helper()
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("json", "v", v)
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	return b.String()
}

// shows reports whether text holds four characters in a row of the secret.
func shows(text, secret string) bool {
	for i := 0; i+4 <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+4]) {
			return true
		}
	}
	return false
}

func TestNothingPrintsASecret(t *testing.T) {
	d := mustParse(t, "postgres://u:"+secret+"@h/db?sslpassword="+"Zq7%21Xw9%23Vk3")
	hidden := struct{ dsn urlfix.DSN }{*d} // fmt cannot call methods on it
	type public struct{ Secret urlfix.Secret }
	for name, v := range map[string]any{
		"a DSN": d, "a copy of a DSN": *d, "a slice of DSNs": []urlfix.DSN{*d}, "a DSN in an unexported field": hidden,
		"a secret": d.Password, "the password of the key": d.SSLPassword, "a field with a secret": public{d.Password},
		"a pointer to a secret": &public{d.Password}, "a map of secrets": map[string]urlfix.Secret{"a": d.Password},
	} {
		t.Run(name+" prints no secret", func(t *testing.T) {
			if text := everyForm(t, v); shows(text, secret) {
				t.Errorf("the secret is in %s", text)
			}
		})
	}
	t.Run("only the URI shows the secret", func(t *testing.T) {
		if want := "postgres://u:Zq7%21Xw9%23Vk3@h/db?sslpassword=Zq7%21Xw9%23Vk3"; d.URI() != want {
			t.Errorf("URI is %s", d.URI())
		}
		if want := "postgres://u@h/db"; d.SafeURI() != want {
			t.Errorf("SafeURI is %s", d.SafeURI())
		}
		if want := "postgres://u:***@h/db?sslpassword=***"; d.String() != want {
			t.Errorf("String is %s", d.String())
		}
	})
}

func TestSecret(t *testing.T) {
	var unset urlfix.Secret
	if unset.IsSet() || unset.String() != "" || unset.Reveal() != "" || urlfix.NewSecret("").IsSet() {
		t.Error("the zero value and the empty text are not set")
	}
	s := urlfix.NewSecret(secret)
	if !s.IsSet() || s.Reveal() != secret || s.String() != "[redacted]" || s.GoString() != "[redacted]" {
		t.Errorf("%v", s)
	}
	text, err := s.MarshalText()
	if err != nil || string(text) != "[redacted]" {
		t.Errorf("%s %v", text, err)
	}
}

func TestNoErrorShowsThePassword(t *testing.T) {
	for _, shape := range []string{
		"postgres://u:%s@h:port/db", "postgres://u:%s@h ost/db", "postgres://u:%s@h/db?nosuch=1", "postgres://u:%s@h/db\n",
		"postgres://u:%s@h1,u:x@h2/db", "postgres://u: %s@h/db", "postgres://u:%s@h/db@x", "postgres://u:%%41/%s@h/db",
		"postgres://h/db?password=%s&%s", "postgres://h/db?password=x&%s=1", "postgres://h/db?%s=1", "postgres://h/%s@",
		"postgres://%s", "postgres://h:%s/db", "postgres:/%s", "%s", "%s=1", "host=%s@ user=u", "host=h password='%s",
		"host=h port=%s", "host=h user=u %s", "host= password=%s", "host=h sslmode=%s", "jdbc:postgresql://h/?password=%s",
		"Host=h;Password=%s", "postgresql+psycopg2://u:%s@h:x/db", "postgresql+psycopg2://u:%s@h/db?%s=x",
		"mysql://u:%s@h/db", "%s://h", "postgresql+%s://h", "postgres://h/db?connect_timeout=%s", "'%s'", " postgres://%s",
	} {
		t.Run(shape, func(t *testing.T) {
			dsn := strings.ReplaceAll(strings.ReplaceAll(shape, "%s", secret), "%%", "%")
			_, err := urlfix.Parse(dsn)
			if err == nil {
				t.Skip("accepted")
			}
			if text := everyForm(t, err); shows(text, secret) {
				t.Errorf("the password is in %s", text)
			}
		})
	}
}
