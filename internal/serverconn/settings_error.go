package serverconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/canceler"
	"github.com/pgsafe/pgsafe/internal/ctxsettings"
	"github.com/pgsafe/pgsafe/internal/sqlstate"
)

// settingsError says that the server refuses a setting or a role.
type settingsError struct {
	subject string
	cause   *pgconn.PgError
}

// Error names what is refused, and has no value in it.
func (e *settingsError) Error() string {
	return fmt.Sprintf("pgsafe: %v: the server refuses %s (SQLSTATE %s)", ctxsettings.Err, e.subject, e.cause.Code)
}

// Unwrap returns what it is, and the server's error without its words.
func (e *settingsError) Unwrap() []error { return []error{ctxsettings.Err, e.cause} }

// settingsFailed gives the error of applying settings its identity. The statement that wanted them
// has not begun.
func (c *Conn) settingsFailed(ctx context.Context, want *ctxsettings.Settings, err error) error {
	var pgErr *pgconn.PgError
	if err == nil || !errors.As(err, &pgErr) || canceler.IsCanceled(err) && ctx.Err() != nil {
		return c.failedHarmless(ctx, err)
	}
	refusal := &settingsError{subject: c.subjectOf(want, pgErr), cause: withoutWords(pgErr)}
	if c.pgx.IsClosed() { // the server said goodbye
		return c.failedHarmless(ctx, refusal.cause)
	}
	return refusal
}

// withoutWords leaves out the server's words, which quote values (guc.c, parse_and_validate_value).
func withoutWords(err *pgconn.PgError) *pgconn.PgError {
	return &pgconn.PgError{
		Severity: err.Severity, SeverityUnlocalized: err.SeverityUnlocalized, Code: err.Code,
		File: err.File, Line: err.Line, Routine: err.Routine,
	}
}

// subjectOf finds what the server's words are about: they quote the name.
func (c *Conn) subjectOf(want *ctxsettings.Settings, err *pgconn.PgError) string {
	said := strings.ToLower(err.Message) // the server's names may have capitals, as TimeZone has
	for _, name := range slices.Concat(want.Names(), c.config.InUse.get().all()) {
		if strings.Contains(said, `"`+name+`"`) {
			return strconv.Quote(name)
		}
	}
	if role := want.Role(); role != "" && strings.Contains(err.Message, `"`+role+`"`) {
		return "the role " + strconv.Quote(role)
	}
	return "one of them"
}

// refusalIn returns the server's error in err, nil if there is none.
func refusalIn(err error) *pgconn.PgError {
	refusal, _ := errors.AsType[*pgconn.PgError](err)
	return refusal
}

// lacks reports whether the server has refused a name in use that want does not have, because it does
// not know the name. From then on the connection leaves it out: it has no value here. An extension that
// was loaded after the name was used reserves its prefix (guc.c, MarkGUCPrefixReserved and find_option).
func (c *Conn) lacks(want *ctxsettings.Settings, refusal *pgconn.PgError) bool {
	if refusal == nil || refusal.Code != sqlstate.InvalidName || refusal.File != "guc.c" { // no value is in its words
		return false
	}
	said := strings.ToLower(refusal.Message)
	for _, name := range c.config.InUse.get().all() {
		_, given := want.Value(name)
		if !given && !slices.Contains(c.session.absent, name) && strings.Contains(said, `"`+name+`"`) {
			c.session.absent = append(c.session.absent, name)
			c.prefixes = prefixes{}
			return true
		}
	}
	return false
}
