package redact_test

import (
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
	"github.com/pgsafe/pgsafe/internal/redact"
)

func TestRedactor(t *testing.T) {
	const secret = "q7'Z/x[9f:+"
	for name, text := range map[string]string{
		"a plain password is redacted":              "no " + secret + " here",
		"a password in a query is redacted":         "no " + url.QueryEscape(secret) + " here",
		"a password in a path is redacted":          "no " + url.PathEscape(secret) + " here",
		"a password in a quoted string is redacted": "no " + strings.ReplaceAll(secret, "'", "''") + " here",
	} {
		t.Run(name, func(t *testing.T) {
			check.Equal(t, redact.New(secret).Text(text), "no "+redact.Marker+" here")
			learning := redact.New("")
			check.Equal(t, learning.Text(text), text)
			learning.Learn(secret)
			check.Equal(t, learning.Text(text), "no "+redact.Marker+" here")
		})
	}
	t.Run("a password that starts with another password is redacted whole", func(t *testing.T) {
		r := redact.New("pass1")
		r.Learn("pass1word2")
		check.Equal(t, r.Text("pass1word2 pass1"), redact.Marker+" "+redact.Marker)
	})
	t.Run("a password of three characters is left in words", func(t *testing.T) {
		check.Equal(t, redact.New("the").Text("the theatre"), "the theatre")
	})
	t.Run("the oldest learned passwords are forgotten, the configured one never", func(t *testing.T) {
		r := redact.New("configured")
		for i := range 33 {
			r.Learn(fmt.Sprintf("token-%02d", i))
			r.Learn(fmt.Sprintf("token-%02d", i)) // counts once
		}
		check.Equal(t, r.Text("configured token-00 token-01 token-32"),
			redact.Marker+" token-00 "+redact.Marker+" "+redact.Marker)
	})
	t.Run("a Redactor learns and redacts from several goroutines", func(t *testing.T) {
		r := redact.New(secret)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 100 {
					r.Learn(fmt.Sprint("token", i, j))
					check.Equal(t, r.Text(secret), redact.Marker)
				}
			})
		}
		all.Wait()
	})
}
