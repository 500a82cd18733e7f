package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// explained is a failed dial that may be shown. It leaves pgconn.ConnectError out of the tree,
// because that holds the whole configuration in an exported field, and keeps what that wraps.
type explained struct {
	text  string
	cause error
}

func (e *explained) Error() string { return e.text }

func (e *explained) Unwrap() error { return e.cause }

// Format keeps %#v and other verbs from printing what the causes hold.
func (e *explained) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, e.text) // fmt's own state does not fail
}

// Explain makes an error of Dial fit to be shown. The result is one line, says where the dial went
// and what may help, and holds no password. It keeps the identity of the causes: a *pgconn.PgError,
// the context's errors, an error of the application's function, failure.ErrCertificateExpired. If
// ctx, the caller's context, ended the retries, the error is errors.Is(err, ctx.Err()) too.
func (d *Dialer) Explain(ctx context.Context, err error) error {
	err = d.explain(err)
	if ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return &explained{text: err.Error() + ": " + ctx.Err().Error(), cause: errors.Join(ctx.Err(), err)}
}

// Reason returns in one word why a dial failed, "" for no error.
func (d *Dialer) Reason(err error) failure.Reason {
	failed, ok := errors.AsType[*pgconn.ConnectError](err)
	switch {
	case err == nil:
		return ""
	case ok && d.expiredCertificate(failed) != nil:
		return failure.ReasonCertificateExpired
	}
	return failure.DialReason(err)
}

func (d *Dialer) explain(err error) error {
	if hook, ok := errors.AsType[*hookError](err); ok {
		return d.redacted(hook.error, hook.Error())
	}
	failed, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		return d.redacted(err, err.Error())
	}
	cc, cause := d.options.Server.Conn, failed.Unwrap()
	text := fmt.Sprintf("pgsafe: cannot connect to %s as user %q, database %q: %s",
		net.JoinHostPort(cc.Host, strconv.Itoa(int(cc.Port))), cc.User, cc.Database,
		withoutSteps.Replace(oneLine(cause)))
	for _, hint := range d.hints(failed) {
		text += "; " + hint
	}
	if expired := d.expiredCertificate(failed); expired != nil {
		cause = errors.Join(expired, cause)
		text += "; " + expired.Error()
	}
	return d.redacted(cause, text)
}

// withoutSteps cuts out what pgconn was about to do when TLS failed: crypto/tls shakes hands with
// the first write.
var withoutSteps = strings.NewReplacer(
	"failed to write startup message: write failed: ", "", "AfterNetConnect failed: ", "")

// hints says what may help.
func (d *Dialer) hints(failed *pgconn.ConnectError) (hints []string) {
	pgErr, ok := errors.AsType[*pgconn.PgError](failed)
	if !ok {
		return nil
	}
	if failure.Of(failed) == failure.Auth && pgErr.Code != sqlstate.InsufficientPrivilege {
		if hint := d.options.Server.PasswordHint(failed); hint != "" {
			hints = append(hints, hint)
		}
	}
	if failure.IsRefusedParameter(pgErr) {
		hints = append(hints, hintParameter)
	}
	return hints
}

// hintParameter does not advise a SET after connecting. That would reach whichever server
// connection comes first, and then all clients that share it.
const hintParameter = "PgBouncer does not pass this setting on: take it out of the connection string and " +
	"give it to the role (ALTER ROLE ... SET ...), or name it in PgBouncer's ignore_startup_parameters, which drops it"

// redacted returns err under a text without passwords. If err itself holds a password, only its
// identity survives: the server's error with redacted fields, and the context's errors.
func (d *Dialer) redacted(err error, text string) error {
	clean := d.redactor.Text(text)
	pgErr, fromServer := errors.AsType[*pgconn.PgError](err)
	all := err.Error()
	if fromServer {
		all += fmt.Sprintf("%#v", *pgErr) // its detail and context are no part of its text
	}
	if d.redactor.Text(all) == all {
		return &explained{text: clean, cause: err}
	}
	var kept []error
	if fromServer {
		kept = append(kept, &pgconn.PgError{
			Severity: pgErr.Severity, SeverityUnlocalized: pgErr.SeverityUnlocalized, Code: pgErr.Code,
			Message: d.redactor.Text(pgErr.Message), Detail: d.redactor.Text(pgErr.Detail), Hint: d.redactor.Text(pgErr.Hint),
		})
	}
	for _, sentinel := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, sentinel) {
			kept = append(kept, sentinel)
		}
	}
	return &explained{text: clean, cause: errors.Join(kept...)}
}

// oneLine joins pgconn's lines, one for each try, without repeats: sslmode=prefer tries each
// address twice.
func oneLine(err error) string {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
