package pgserver

import (
	"context"
	"fmt"
	"strings"
)

// bootstrap gives the superuser its password and makes the database, before the server first
// starts, in PostgreSQL's single-user mode: it needs no client program, and the password passes
// through a pipe only.
func (s *Server) bootstrap(ctx context.Context) error {
	var sql strings.Builder
	// In single-user mode a statement ends with its line, so the quoted texts must not hold line
	// ends.
	if s.opts.Password != "" {
		fmt.Fprintf(&sql, "ALTER ROLE %s PASSWORD %s;\n", quoteName(s.opts.User), quoteText(s.opts.Password))
	}
	if s.opts.Database != "" && s.opts.Database != "postgres" {
		fmt.Fprintf(&sql, "CREATE DATABASE %s OWNER %s%s;\n", quoteName(s.opts.Database), quoteName(s.opts.User),
			s.run.bin.CopyStrategy())
	}
	if sql.Len() == 0 {
		return nil
	}
	return s.run.run(ctx, nil, sql.String(), "postgres", "--single", "-F", "-D", s.data,
		"-c", "exit_on_error=on", "-c", "password_encryption=scram-sha-256", "-c", "lc_messages=C",
		// Neither a statement nor a failed one may appear in what an error could tell.
		"-c", "log_min_error_statement=panic", "-c", "log_statement=none",
		"postgres")
}

// quoteName renders text as an identifier on one line.
func quoteName(text string) string { return `U&"` + unicodeEscape(text, '"') + `"` }

// quoteText renders text as a string on one line.
func quoteText(text string) string { return `U&'` + unicodeEscape(text, '\'') + `'` }

// unicodeEscape writes the characters that end lines or mean something as \XXXX, and doubles the
// quote.
func unicodeEscape(text string, quote rune) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == quote:
			b.WriteRune(r)
			b.WriteRune(r)
		case r == '\\' || r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
