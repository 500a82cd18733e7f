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

// firstAnswer is how long somebody may take to answer where nobody ever has. A server that starts answers soon, and says
// then itself that it starts (postmaster.c, PostmasterMain: it listens before it recovers); a wrong address never does, and
// one wants to hear of it.
const firstAnswer = 3 * time.Second

// connectWithin takes a connection with connect, which acquires one of the pool, and goes on trying as long as the failure
// is one that may pass and its time is not over. It ends when ctx does, or the Connector, and then returns the last
// failure.
func connectWithin[T any](ctx context.Context, c *Connector, connect func(context.Context) (T, error)) (T, error) {
	started := time.Now()
	conn, err := connectOnce(ctx, c, connect)
	if err == nil {
		return conn, nil
	}
	return connectAgain(ctx, c, started, err, connect)
}

// connectAgain is connectWithin after a first attempt that began at started and failed with err.
func connectAgain[T any](
	ctx context.Context, c *Connector, started time.Time, err error, connect func(context.Context) (T, error),
) (T, error) {
	var none T
	for bound := firstPause; ; bound = min(2*bound, lastPause) {
		conn, failure := connectBefore(ctx, c, started.Add(c.patienceWith(err)), bound/2+rand.N(bound/2), connect)
		switch {
		case failure == nil:
			c.recovered(recoveredConnect)
			return conn, nil
		case errors.Is(failure, errLate):
			return none, err // what it was waiting for
		}
		err = failure
	}
}

// errLate is the failure of an attempt that had no time.
var errLate = errors.New("out of time")

// connectBefore tries once, after a pause. The failure is errLate if the time comes, ctx ends or the Connector does.
func connectBefore[T any](
	ctx context.Context, c *Connector, end time.Time, pause time.Duration, connect func(context.Context) (T, error),
) (T, error) {
	within, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	var none T
	if !c.pause(within, pause) {
		return none, errLate
	}
	conn, err := connectOnce(within, c, connect)
	if err != nil && within.Err() != nil {
		return none, errLate
	}
	return conn, err
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

// patienceWith returns how long, after the first attempt began, it may be tried again to connect, for a failure that may
// pass by itself, and zero for any other. Of the attempts on several servers one that says no for good outweighs the
// others: what it found wrong is the same everywhere.
func (c *Connector) patienceWith(err error) time.Duration {
	timeout := cmp.Or(c.config.ConnConfig.ConnectTimeout, defaultConnectTimeout)
	switch {
	case anyCause(err, isLasting):
		return 0
	case anyCause(err, isRecovering), c.connected.Load() && anyCause(err, isAway):
		return timeout
	case anyCause(err, isSilent):
		return min(timeout, firstAnswer)
	}
	return 0
}

// passes tells whether a failure to connect may pass by itself.
func (c *Connector) passes(err error) bool { return c.patienceWith(err) > 0 }

// isRecovering recognises a server that says itself that it starts, stops or is full.
func isRecovering(err error) bool {
	pgErr, ok := err.(*pgconn.PgError)
	return ok && (slices.Contains([]string{"57P01", "57P02", "57P03", "53300"}, pgErr.Code) || poolerAsksToWait(pgErr))
}

// isAway recognises that there is no server, or one that is not what target_session_attrs asks for. Where there has never
// been any other, the address is wrong.
func isAway(err error) bool {
	if errno, ok := err.(syscall.Errno); ok && slices.Contains(awayErrnos, errno) {
		return true
	}
	return isSilent(err) || err == pgconn.ErrReadOnlyConnection || err == pgconn.ErrStandbyConnection
}

// isSilent recognises a machine, or a proxy in front of a server, on which nobody answers.
func isSilent(err error) bool {
	if errno, ok := err.(syscall.Errno); ok {
		return slices.Contains(silentErrnos, errno)
	}
	return err == io.EOF || err == io.ErrUnexpectedEOF
}

// isLasting recognises what no time heals: the application's own function, a wrong password, database or certificate, or
// another demand that is not met.
func isLasting(err error) bool {
	switch err := err.(type) {
	case *hookError:
		return true
	case *pgconn.PgError:
		kind := kindOfServerError(err)
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
