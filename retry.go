package pgsafe

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe/internal/libpq"
)

// The pauses between attempts to connect: each is random, up to a bound that doubles.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// defaultConnectTimeout bounds the attempts where connect_timeout says that there is no bound.
const defaultConnectTimeout = 10 * time.Second

// connectAgain goes on trying to connect, after a first attempt that began at started and failed with err, as long as the
// failure is one that may pass. It ends when connect_timeout has passed since started, when ctx ends, or with the
// Connector, and then returns the last failure.
func connectAgain[T any](
	ctx context.Context, c *Connector, started time.Time, err error, connect func(context.Context) (T, error),
) (T, error) {
	var none T
	within, cancel := context.WithDeadline(ctx, started.Add(cmp.Or(c.config.ConnConfig.ConnectTimeout, defaultConnectTimeout)))
	defer cancel()
	for bound := firstPause; c.passes(err); bound = min(2*bound, lastPause) {
		if !c.pause(within, bound/2+rand.N(bound/2)) {
			break
		}
		conn, failure := connect(within)
		switch {
		case failure == nil:
			c.recovered(recoveredConnect)
			return conn, nil
		case within.Err() != nil:
			return none, err // what it was waiting for
		}
		err = failure
	}
	return none, err
}

// pause waits, and reports false if ctx or the Connector ends first.
func (c *Connector) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return false
}

// passes tells whether a failure to connect may pass by itself. Of the attempts on several servers one that says no for
// good outweighs the others: what it found wrong is the same everywhere.
func (c *Connector) passes(err error) bool {
	if anyCause(err, isLasting) {
		return false
	}
	return anyCause(err, isRecovering) || c.connected.Load() && anyCause(err, isAway)
}

// isRecovering recognises a server that says itself that it starts, stops or is full.
func isRecovering(err error) bool {
	pgErr, ok := err.(*pgconn.PgError)
	return ok && slices.Contains([]string{"57P01", "57P02", "57P03", "53300"}, pgErr.Code)
}

// isAway recognises that nobody answers, or a server that is not what target_session_attrs asks for. Where there has
// never been any other this is most likely a wrong address, of which one wants to hear at once.
func isAway(err error) bool {
	if errno, ok := err.(syscall.Errno); ok {
		return slices.Contains(passingErrnos, errno)
	}
	return err == io.EOF || err == io.ErrUnexpectedEOF ||
		err == pgconn.ErrReadOnlyConnection || err == pgconn.ErrStandbyConnection
}

// isLasting recognises what no time heals: the application's own function, a wrong password, database or certificate, or
// another demand that is not met.
func isLasting(err error) bool {
	switch err := err.(type) {
	case *hookError:
		return true
	case *pgconn.PgError:
		kind := kindOfState(err.Code)
		return kind == KindAuth || kind == KindConfig || err.Code == "42501" // no right to connect
	}
	return err == libpq.ErrPeer || isCertificateError(err) || isDemandError(err)
}

// anyCause reports whether is holds for err or for anything that it wraps.
func anyCause(err error, is func(error) bool) bool {
	if err == nil || is(err) {
		return err != nil
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return anyCause(err.Unwrap(), is)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), func(cause error) bool { return anyCause(cause, is) })
	}
	return false
}

// givenUp adds to a failure to connect that it was the caller's context that ended the attempts, if so.
func givenUp(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return &connectError{text: err.Error() + ": " + ctx.Err().Error(), cause: errors.Join(ctx.Err(), err)}
}
