package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/pgserver"
	"github.com/pgsafe/pgsafe/internal/pgtest"
)

// A wrong password is made up by chance, and the user's may be anything: FATAL, say.
func TestPasswordsMadeOfWordsOfErrorsAreNotShown(t *testing.T) {
	c := pgtest.New(t, pgserver.Options{Auth: pgserver.SCRAM, Password: secret, HBA: []string{
		"local all all trust", "host all plain 127.0.0.1/32 password", "host all all 127.0.0.1/32 scram-sha-256",
	}})
	if _, err := c.Admin(t).Exec(context.Background(), "CREATE ROLE plain LOGIN PASSWORD '"+secret+"'"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, user string
		change     func(*pgx.ConnConfig)
		kind       pgsafe.Kind
		state      string
	}{
		{"a wrong password", "postgres", func(c *pgx.ConnConfig) { c.Password = "wrong" }, pgsafe.KindAuth, "28P01"},
		{"a wrong password that the server asked for itself", "plain", func(c *pgx.ConnConfig) { c.Password = "wrong" },
			pgsafe.KindAuth, "28P01"},
		{"an unknown database", "postgres", func(c *pgx.ConnConfig) { c.Database = "nowhere" }, pgsafe.KindConfig, "3D000"},
		{"a closed port", "postgres", func(config *pgx.ConnConfig) {
			config.Port, config.Fallbacks, config.Password = uint16(pgtest.ClosedPort(t)), nil, "wrong"
		}, pgsafe.KindUnavailable, ""},
	} {
		t.Run("the error for "+tt.name+" shows no password", func(t *testing.T) {
			p := &patient{dsn: fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=postgres sslmode=disable "+
				"connect_timeout=1",
				c.Host(), c.Port(), tt.user, keyValue(secret))}
			db, _, err := p.open(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			err = p.attempt(context.Background(), tt.change)
			if err == nil {
				t.Fatal("no error")
			}
			for word := range strings.FieldsFuncSeq(err.Error(), notInWords) {
				if r := p.judge(err, tt.kind, tt.state, word); r.Status != StatusOK {
					t.Errorf("with the password %q: %s", word, r.Detail)
				}
			}
		})
	}
}

func notInWords(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// keyValue quotes a value for a keyword/value string.
func keyValue(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
