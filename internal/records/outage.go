package records

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pgsafe/pgsafe/internal/failure"
	"github.com/pgsafe/pgsafe/internal/ratelog"
)

// outage is the time from a dial that fails to the next one that succeeds.
type outage struct {
	limiter ratelog.Limiter

	mu       sync.Mutex // guards the fields below
	since    time.Time  // zero while dials succeed
	dials    int        // that failed
	callers  int        // that got no connection
	isLogged bool
}

// Dialed records a dial that has ended with err, nil for success. A dial that was cancelled says
// nothing of the server. err may hold secrets, and only its reason is shown.
func (r *Records) Dialed(ctx context.Context, err error, why failure.Reason) {
	switch {
	case err == nil:
		r.reached(ctx)
	case !errors.Is(err, context.Canceled) && !errors.Is(ctx.Err(), context.Canceled):
		r.Tracer.DialFailed(ctx, err)
		r.unreachable(ctx, why)
	}
}

func (r *Records) unreachable(ctx context.Context, why failure.Reason) {
	o, now := &r.outage, time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = now
	}
	o.dials++
	if _, ok := o.limiter.Allow(now); !ok {
		return
	}
	o.isLogged = true
	text := fmt.Sprintf("pgsafe: unreachable since %s, %d dials failed: %s", o.since.Format(time.RFC3339), o.dials, why)
	r.Logger.WarnContext(ctx, text,
		"pool", r.Pool, "since", o.since, "dials", o.dials, "reason", string(why), "callers", o.callers)
}

// Unserved counts a caller that got no connection.
func (r *Records) Unserved() {
	r.outage.mu.Lock()
	defer r.outage.mu.Unlock()
	if !r.outage.since.IsZero() {
		r.outage.callers++
	}
}

// reached ends the outage, if there was one.
func (r *Records) reached(ctx context.Context) {
	o := &r.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isLogged {
		after := time.Since(o.since).Round(time.Millisecond)
		text := fmt.Sprintf("pgsafe: the server is back after %v, %d callers failed meanwhile", after, o.callers)
		r.Logger.InfoContext(ctx, text, "pool", r.Pool, "cause", string(Reconnect), "since", o.since,
			"dials", o.dials, "callers", o.callers)
	}
	o.since, o.dials, o.callers, o.isLogged = time.Time{}, 0, 0, false
}
