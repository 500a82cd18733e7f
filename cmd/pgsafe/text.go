package main

import (
	"crypto/rand"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// printable replaces what a terminal would obey instead of show: servers and connection strings are
// not to be trusted.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// shortly writes a duration with three digits or so: "4.21ms", "1.204s".
func shortly(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

// randomName returns an unguessable text of 26 capitals and digits.
func randomName() string { return rand.Text() }

// window is how many characters in a row of a secret give it away.
const window = 4

// reveals reports whether text holds four characters in a row of secret. Characters that public
// texts hold too do not count: a user name may be a part of the password.
func reveals(text, secret string, public ...string) bool {
	known := strings.Join(public, "\n")
	for start := range secret {
		end := start
		for range window {
			_, size := utf8.DecodeRuneInString(secret[end:])
			if size == 0 {
				return false // too short, or its end
			}
			end += size
		}
		if part := secret[start:end]; strings.Contains(text, part) && !strings.Contains(known, part) {
			return true
		}
	}
	return false
}
