package pgsafe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/pool"
	"github.com/pgsafe/pgsafe/internal/serverconn"
	"github.com/pgsafe/pgsafe/internal/sqltext"
)

var (
	// ErrClosed is returned, possibly wrapped, when a connection is asked of a Connector after its Close. It is of
	// KindUnavailable.
	ErrClosed = failure.ErrClosed

	// ErrCertificateExpired is returned, wrapped, from a connect that failed with a client certificate that has expired.
	// The error's text names the file. It is of KindConfig.
	ErrCertificateExpired = failure.ErrCertificateExpired
)

// acquire takes a connection out of the pool. waited is how long the caller has waited for it already.
func (c *Connector) acquire(
	ctx context.Context, text string, a *pool.Affinity, waited time.Duration,
) (*pool.Conn, error) {
	conn, err := c.pool.Acquire(ctx, text, a)
	if err != nil {
		return nil, c.unserved(ctx, text, waited, err)
	}
	why := cmp.Or(conn.WaitedFor(), pool.WaitDial) // what Connect has waited for
	c.tracer.Acquired(ctx, conn.Server.(*serverconn.Conn).Pgx(), conn.WaitedSince(waited), why.String())
	return conn, nil
}

// unserved is acquireError for a caller with a statement, which ends. text is "" if it is not known.
func (c *Connector) unserved(ctx context.Context, text string, waited time.Duration, err error) error {
	r := pool.RefusalOf(err)
	c.records.Unserved()
	c.tracer.Unserved(ctx, text, waited+r.Waited, r.For.String(), err, r.Dial)
	return c.acquireError(ctx, err)
}

// acquireError makes an error of the pool fit to be shown. If the pool has no connection because none can be made, the
// error is why.
func (c *Connector) acquireError(ctx context.Context, err error) error {
	late, isLate := errors.AsType[*pool.AcquireError](err)
	switch {
	case errors.Is(err, pool.ErrClosed):
		return ErrClosed
	case !isLate:
		return c.dialer.Explain(ctx, err)
	}
	e := &AcquireError{
		Pool: c.name(), InUse: late.InUse, Max: late.Max, Connecting: late.Dialing, Waiting: late.Waiting,
		cause: ctx.Err(),
	}
	if late.Failure != nil {
		e.failure = c.dialer.Explain(ctx, late.Failure)
		if late.InUse == 0 {
			return e.failure
		}
	}
	for i, h := range late.Holders {
		if i == 0 {
			e.LongestHold = h.For
		}
		e.Holders = append(e.Holders, holder(h))
	}
	return e
}

// holder describes a connection in use, without literals of its statement.
func holder(h pool.Holder) string {
	return sqltext.Read(h.Text).Summary + " for " + h.For.Round(100*time.Millisecond).String()
}

// AcquireError says that no connection could be had in time, and what uses them.
//
// If the caller's context ended the wait, errors.Is(err, ctx.Err()) holds. If the pool's AcquireTimeout did, it is
// KindTimeout while connections were being opened below the cap, and else KindPoolExhausted. If the pool has
// connections but cannot open more, the reason is in its tree of errors.
type AcquireError struct {
	Pool        string        // the pool's name, which is its database's
	InUse       int           // connections in use
	Max         int           // the cap, 0 for none
	Connecting  int           // connections being opened
	Waiting     int           // callers that waited for one, this one included
	LongestHold time.Duration // how long the connection in longest use has been in use
	Holders     []string      // what uses the three connections in longest use: "SELECT orders for 4.2s"

	cause   error // the caller's context's error, nil if that had not ended
	failure error // why no more connections can be opened, nil if none failed
}

// Error is one line: pool "orders": 50 of 50 in use, 12 waiting, longest held 4.2s: SELECT orders for 4.2s, ...
func (e *AcquireError) Error() string {
	limit := "in use, no cap"
	if e.Max > 0 {
		limit = fmt.Sprintf("of %d in use", e.Max)
	}
	reason := "no connection in time"
	if e.cause != nil {
		reason = e.cause.Error()
	}
	text := fmt.Sprintf("pgsafe: pool %q: %d %s, %d waiting, longest held %v: %s",
		e.Pool, e.InUse, limit, e.Waiting, e.LongestHold.Round(100*time.Millisecond), reason)
	if len(e.Holders) > 0 {
		text += "; in use by " + strings.Join(e.Holders, ", ")
	}
	if e.failure != nil {
		text += "; no more can be opened: " + e.failure.Error()
	}
	return text
}

// Unwrap returns the error of the caller's context, if that ended the wait, and why no more connections can be opened.
func (e *AcquireError) Unwrap() []error {
	var all []error
	for _, err := range []error{e.cause, e.failure} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// Timeout is true if time ran out, as net.Error's is.
func (e *AcquireError) Timeout() bool {
	return e.cause == nil || errors.Is(e.cause, context.DeadlineExceeded)
}

func (e *AcquireError) kind() Kind {
	switch {
	case e.failure != nil:
		return KindOf(e.failure)
	case e.Max > 0 && (e.InUse >= e.Max || e.Connecting == 0):
		return KindPoolExhausted // at this very moment one may be on its way from one user to the next
	}
	return KindTimeout
}
