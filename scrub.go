package pgsafe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// minSecret is the shortest password that is looked for in texts. A shorter one would turn up in ordinary words, and
// blotting it out there would show it.
const minSecret = 4

const blot = "[redacted]"

// maxLearned is how many passwords beside the configured one are looked for in texts: more than a list of servers
// has, so that old ones of a file or a hook that changes them go.
const maxLearned = 32

// scrubber removes passwords from texts: the configured one, and those that WithBeforeConnect and the password file
// gave last. It is safe for concurrent use.
type scrubber struct {
	replacer atomic.Pointer[strings.Replacer]

	mu         sync.Mutex
	configured string
	learned    []string
}

func newScrubber(config *pgx.ConnConfig) *scrubber {
	s := &scrubber{configured: config.Password}
	s.replacer.Store(replacerOf(s.configured))
	return s
}

// learn makes the scrubber look for password too.
func (s *scrubber) learn(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if password == s.configured || slices.Contains(s.learned, password) {
		return
	}
	s.learned = append(s.learned, password)
	s.learned = s.learned[max(0, len(s.learned)-maxLearned):]
	s.replacer.Store(replacerOf(append([]string{s.configured}, s.learned...)...))
}

// replacerOf tries the longest first: a password may start with another one.
func replacerOf(passwords ...string) *strings.Replacer {
	slices.SortFunc(passwords, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, p := range passwords {
		if len(p) >= minSecret {
			pairs = append(pairs, p, blot, url.QueryEscape(p), blot, url.PathEscape(p), blot,
				strings.ReplaceAll(p, "'", "''"), blot)
		}
	}
	return strings.NewReplacer(pairs...)
}

func (s *scrubber) text(t string) string { return s.replacer.Load().Replace(t) }

// connectError is a failed attempt to connect. It leaves pgconn.ConnectError out of the chain, because that holds
// the whole configuration in an exported field, and keeps what that wraps.
type connectError struct {
	text  string
	cause error
}

func (e *connectError) Error() string { return e.text }

func (e *connectError) Unwrap() error { return e.cause }

// Format keeps %#v and its like from printing what the causes hold.
func (e *connectError) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, e.text) // fmt's own state does not fail
}

// hookError is an error of the application's own hook.
type hookError struct{ error }

func (e *hookError) Unwrap() error { return e.error }

func hookFailed(err error) error {
	if err == nil {
		return nil
	}
	return &hookError{err}
}

// connectError makes an error of connecting fit to be shown.
func (c *Connector) connectError(err error) error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	var hook *hookError
	if errors.As(err, &hook) {
		return c.scrubbed(hook.error, hook.Error())
	}
	var ce *pgconn.ConnectError
	if !errors.As(err, &ce) {
		return c.scrubbed(err, err.Error())
	}
	cc := c.config.ConnConfig
	text := fmt.Sprintf("pgsafe: cannot connect to %s as user %q, database %q: ", c.address(), cc.User, cc.Database)
	text += c.scrub.text(withoutSteps.Replace(oneLine(ce.Unwrap())))
	if KindOf(err) == KindAuth {
		if hint := c.conn.PasswordHint(ce); hint != "" {
			text += "; " + hint
		}
	}
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) && refusedParameter(pgErr) {
		text += "; " + hintParameter
	}
	cause := ce.Unwrap()
	if expired := c.expiredCertificate(ce); expired != nil {
		cause = errors.Join(expired, cause)
		text += "; " + expired.Error()
	}
	return c.scrubbed(cause, text)
}

// withoutSteps cuts what pgconn was about to do when TLS failed: crypto/tls shakes hands with the first write.
var withoutSteps = strings.NewReplacer("failed to write startup message: write failed: ", "", "AfterNetConnect failed: ", "")

// scrubbed returns err under a text without the password. Where err itself holds the password, only what it is
// survives: the server's error with its fields cleaned, and the context's.
func (c *Connector) scrubbed(err error, text string) error {
	clean := c.scrub.text(text)
	var pgErr *pgconn.PgError
	all := err.Error()
	if errors.As(err, &pgErr) {
		all += fmt.Sprintf("%#v", *pgErr) // its detail and context are no part of its text
	}
	if c.scrub.text(all) == all {
		return &connectError{text: clean, cause: err}
	}
	var kept []error
	if pgErr != nil {
		kept = append(kept, &pgconn.PgError{
			Severity: pgErr.Severity, SeverityUnlocalized: pgErr.SeverityUnlocalized, Code: pgErr.Code,
			Message: c.scrub.text(pgErr.Message), Detail: c.scrub.text(pgErr.Detail), Hint: c.scrub.text(pgErr.Hint),
		})
	}
	for _, sentinel := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, sentinel) {
			kept = append(kept, sentinel)
		}
	}
	return &connectError{text: clean, cause: errors.Join(kept...)}
}

// oneLine joins the attempts, one a line, of which those that failed alike are told once: sslmode=prefer tries each
// address twice.
func oneLine(err error) string {
	var told []string
	for attempt := range strings.SplitSeq(err.Error(), "\n") {
		if !slices.Contains(told, attempt) {
			told = append(told, attempt)
		}
	}
	return strings.Join(told, "; ")
}
