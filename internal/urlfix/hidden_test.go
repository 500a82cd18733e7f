package urlfix_test

import (
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// inPlace are strings with a place for a password parameter behind a separator that may mean
// nothing there.
var inPlace = []string{
	"user=u% host=h dbname=d", "host=h dbname=d% user=u", "host=h% user=u", "host=h application_name=x%",
	"host='h' user='u%'", "host=h dbname='d%'", "host=h fallback_application_name='x%'", "% host=h",
	"Host=h;Database=d%;Username=u", "Host=h;Username=u%", "Host=h%;Username=u", "Host=h;Username=u;Application Name=x%",
	`Host=h;Username=u;Database="d%"`, "pgsql:host=h;dbname=d%;user=u", "pgsql:host=h dbname=d user=u%",
	"postgres://u@h/db%", "postgres://u%@h/db", "postgres://u@h%/db", "postgres://u@h/db?application_name=x%",
	"postgres://u@h/db?user=u%", "postgres:///db?host=h%", "postgres:///db?host=/tmp%", "postgres://h/?dbname=db%",
	"jdbc:postgresql://h/db?ApplicationName=x%", "jdbc:postgresql://h/db?user=u%", "jdbc:postgresql://h/db%",
	"jdbc:postgresql:db%", "postgresql+psycopg2://u@h/db%", "postgresql+asyncpg://u%@h/db", "ecto://u@h/db%",
	"postgis://u@h/db%", "pg://u@h/db%", "pg:/tmp:5432/db%", "socket:/tmp%?db=x", "socket:/tmp?db=x%",
}

const hiddenSecret = "Qz7Xw9Vk3"

// FuzzHiddenPassword holds that no accepted string shows four characters of the value of a password
// parameter as user, database, host or application name.
func FuzzHiddenPassword(f *testing.F) {
	for i := range inPlace {
		for _, separator := range []string{",", ";", " ", "&", "?", ":", "/", "|", "%20", "%26", "+", ", ", "\\ ", "#", ""} {
			f.Add(i, separator, "password", "", "")
		}
		f.Add(i, ";", "Pwd", " ", " ")
		f.Add(i, ",", "passwd", "%20", "'")
	}
	f.Fuzz(func(t *testing.T, i int, separator, key, before, after string) {
		if !strings.EqualFold(key, "password") && !strings.EqualFold(key, "pwd") && !strings.EqualFold(key, "passwd") {
			return
		}
		if strings.Trim(strings.ReplaceAll(before, "%20", ""), " ") != "" {
			return // then it is a parameter of another name
		}
		form := inPlace[(i%len(inPlace)+len(inPlace))%len(inPlace)]
		dsn := strings.Replace(form, "%", separator+key+before+"="+after+hiddenSecret, 1)
		for _, dialect := range append([]string{"jdbc", "npgsql", "pdo", "sqlalchemy"}, dialectsOfURIs...) {
			d, err := urlfix.ParseAs(dsn, dialect)
			if err != nil {
				continue
			}
			shown := []string{d.User, d.Database, d.String()}
			for _, h := range d.Hosts {
				shown = append(shown, h.Name)
			}
			for _, p := range d.Params {
				shown = append(shown, p.Value)
			}
			if text := strings.Join(shown, "\n"); shows(text, hiddenSecret) {
				t.Errorf("%q of %q shows the password: %q", dsn, dialect, text)
			}
		}
	})
}
