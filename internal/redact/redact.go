// Package redact removes passwords from texts that are shown: errors, log records, spans.
package redact

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Marker replaces each password.
const Marker = "[redacted]"

// shortest is the length of the shortest password that is looked for. A shorter password occurs in
// ordinary words, and a Marker inside a word would reveal it.
const shortest = 4

// maxLearned bounds the passwords that are looked for beside the configured one. It is larger than
// any list of servers. A hook that returns a new token each time pushes the oldest tokens out.
const maxLearned = 32

// A Redactor replaces the passwords that it knows with Marker. It is safe for concurrent use, and
// Text takes no lock. Create it with New.
type Redactor struct {
	replacer atomic.Pointer[strings.Replacer]

	mu         sync.Mutex
	configured string
	learned    []string
}

// New returns a Redactor that never forgets the configured password. An empty password is ignored.
func New(configured string) *Redactor {
	r := &Redactor{configured: configured}
	r.replacer.Store(replacerOf(configured))
	return r
}

// Learn adds a password of four characters or more. The Redactor remembers the 32 passwords that it
// learned last.
func (r *Redactor) Learn(password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(password) < shortest || password == r.configured || slices.Contains(r.learned, password) {
		return
	}
	r.learned = append(r.learned, password)
	r.learned = r.learned[max(0, len(r.learned)-maxLearned):]
	r.replacer.Store(replacerOf(append([]string{r.configured}, r.learned...)...))
}

// Text returns text with each known password replaced, as it is written plainly, in a URL, or in a
// quoted SQL string.
func (r *Redactor) Text(text string) string { return r.replacer.Load().Replace(text) }

// replacerOf tries longer passwords first, because a password may start with another one.
func replacerOf(passwords ...string) *strings.Replacer {
	slices.SortFunc(passwords, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, p := range passwords {
		if len(p) >= shortest {
			pairs = append(pairs, p, Marker, url.QueryEscape(p), Marker, url.PathEscape(p), Marker,
				strings.ReplaceAll(p, "'", "''"), Marker)
		}
	}
	return strings.NewReplacer(pairs...)
}
