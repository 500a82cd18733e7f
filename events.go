package pgsafe

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pgsafe/pgsafe/internal/libpq"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// What pgsafe does about failures is counted, and told to the log: once where it is done once, and else at most every
// logPause, with the number of those that were passed over.

// logPause is the time between two records of one kind.
const logPause = 10 * time.Second

// sparing lets a record through now and then. The zero value lets the first one through.
type sparing struct {
	next    atomic.Int64 // when the next may be written, in Unix nanoseconds
	skipped atomic.Int64
}

// allow reports whether a record may be written now, and how many were not since the last.
func (s *sparing) allow(now time.Time) (skipped int64, ok bool) {
	next := s.next.Load()
	if now.UnixNano() < next || !s.next.CompareAndSwap(next, now.Add(logPause).UnixNano()) {
		s.skipped.Add(1)
		return 0, false
	}
	return s.skipped.Swap(0), true
}

// recovery is a cause of pgsafe.recovery.count.
type recovery string

const (
	recoveredGeneration  recovery = "generation"  // all connections are renewed
	recoveredStatement   recovery = "statement"   // one that had not begun is left to database/sql to repeat
	recoveredConnect     recovery = "connect"     // the server took a connection after it had refused
	recoveredCertificate recovery = "certificate" // a connection was closed for its expired certificate
)

// recovered counts what was done about a failure.
func (c *Connector) recovered(cause recovery) {
	if c.tracer != nil {
		c.tracer.Recovered(string(cause))
	}
	if cause == recoveredGeneration {
		return // it has a record of its own
	}
	if skipped, ok := c.sparing[cause].allow(time.Now()); ok {
		c.logger.Info("pgsafe: recovered", "pool", c, "cause", string(cause), "more", skipped)
	}
}

// newSparing makes what limits the records of each cause.
func newSparing() map[recovery]*sparing {
	return map[recovery]*sparing{recoveredStatement: {}, recoveredConnect: {}, recoveredCertificate: {}, notCanceled: {}, leakedState: {}}
}

// notCanceled is where records of cancel requests are limited.
const notCanceled recovery = "cancel"

// canceled counts a cancel request; err says why the server did not take it. The connection is closed then.
func (c *Connector) canceled(err error) {
	if c.tracer != nil {
		c.tracer.Canceled(err)
	}
	if err == nil {
		return
	}
	if skipped, ok := c.sparing[notCanceled].allow(time.Now()); ok {
		c.logger.Warn("pgsafe: a statement could not be cancelled, and its connection is closed",
			"pool", c, "error", c.scrub.text(err.Error()), "more", skipped)
	}
}

// foundPooler tells that statements are run in another way than on a server.
func (c *Connector) foundPooler() {
	c.logger.Info("pgsafe: the connections lead to a pooler, so statements are not prepared by name",
		"pool", c, "mode_kept", c.poolers.modeGiven)
}

// certificateDue tells of a certificate that has to be renewed.
func (c *Connector) certificateDue(cert libpq.ClientCertificate) {
	attrs := []any{"pool", c, "expires", cert.NotAfter}
	if cert.File != "" {
		attrs = append(attrs, "file", cert.File)
	}
	level, text := slog.LevelWarn, "pgsafe: the client certificate is about to expire"
	if !time.Now().Before(cert.NotAfter) {
		level, text = slog.LevelError, "pgsafe: the client certificate has expired"
	}
	c.logger.Log(c.ctx, level, text, attrs...)
}

// filesUnusable tells that a changed file of TLS cannot be used, once for each change.
func (c *Connector) filesUnusable(err *urlfix.Error) {
	c.logger.Warn("pgsafe: a changed file of TLS cannot be used, and what was read before stays in force",
		"pool", c, "part", err.Part, "reason", err.Reason)
}
