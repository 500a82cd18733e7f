package pool

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// warmer waits until the pool has n connections.
type warmer struct {
	n    int
	done chan error
}

// Ensure returns nil if the pool has a connection, in use or idle. If it has none it makes one, as
// Acquire does, and the error is Acquire's.
func (p *Pool) Ensure(ctx context.Context) error {
	if !p.Empty() {
		return nil
	}
	c, err := p.acquire(ctx, "", nil)
	if err == nil {
		p.putBack(c)
	}
	return err
}

// Empty reports whether Ensure has to make a connection. It is true of a closed pool.
func (p *Pool) Empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.openLocked() == 0 || p.closed
}

// putBack gives a connection back on which nothing ran.
func (p *Pool) putBack(c *Conn) {
	now := time.Now()
	p.mu.Lock()
	keep := !p.closed && !p.overLocked(c, now)
	if keep {
		p.placeLocked(c, now)
	}
	p.mu.Unlock()
	if !keep {
		p.retire(c)
	}
}

// WarmUp opens connections, all at once, until the pool has n, in use or idle. The first failure to
// dial ends it and is its error, whatever the dial was for. n above the cap is an error. The other
// errors are ctx's and ErrClosed.
func (p *Pool) WarmUp(ctx context.Context, n int) error {
	w, err := p.beginWarmUp(n)
	if err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warmers = slices.DeleteFunc(p.warmers, func(other *warmer) bool { return other == w })
	return ctx.Err()
}

func (p *Pool) beginWarmUp(n int) (*warmer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.limit > 0 && n > p.limit:
		return nil, fmt.Errorf("cannot warm up %d connections: the pool holds at most %d", n, p.limit)
	}
	w := &warmer{n, make(chan error, 1)}
	p.warmers = append(p.warmers, w)
	p.warmedLocked(nil)
	p.started = true
	p.dialLocked()
	return w, nil
}

// warmTargetLocked is how many connections the warm-ups under way ask for.
func (p *Pool) warmTargetLocked() int {
	n := 0
	for _, w := range p.warmers {
		n = max(n, w.n)
	}
	return n
}

// warmedLocked ends the warm-ups that have what they asked for. An error ends all of them.
func (p *Pool) warmedLocked(err error) {
	p.warmers = slices.DeleteFunc(p.warmers, func(w *warmer) bool {
		if err == nil && p.openLocked() < w.n {
			return false
		}
		w.done <- err
		return true
	})
}
