package pool

// Affinity prefers the connection that it used last, for the statements of one session. It keeps no
// connection from other callers: it is an order of preference between idle connections. Callers
// without a preference take the connections that no Affinity wants first.
//
// The zero value is ready to use. It must not be copied, nor used with two pools. The pool's mutex
// guards it.
type Affinity struct {
	last  *Conn
	ended bool
}

// wantedLocked returns the connection that an Affinity used last, if that is idle and no other
// caller has used it since.
func (p *Pool) wantedLocked(a *Affinity) *Conn {
	if a == nil || a.last == nil || a.last.list != &p.kept || a.last.affinity != a {
		return nil
	}
	return a.last
}

// idleLocked returns the idle connection for a caller: the one that it used last; else the one most
// recently used that no other session wants; else the one that a session has wanted for longest.
func (p *Pool) idleLocked(a *Affinity) *Conn {
	if c := p.wantedLocked(a); c != nil {
		return c
	}
	if c := p.idle.tail; c != nil {
		return c
	}
	return p.kept.head
}

// listLocked returns the list for an idle connection, and notes it in the Affinity of its last user.
func (p *Pool) listLocked(c *Conn) *list {
	a := c.affinity
	if a == nil || a.ended {
		c.affinity = nil
		return &p.idle
	}
	a.last = c
	return &p.kept
}

// Forget ends an Affinity. Its connection, if that is idle, is like any other from then on.
func (p *Pool) Forget(a *Affinity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.ended = true
	if c := p.wantedLocked(a); c != nil {
		c.affinity = nil
		p.moveLocked(c, &p.idle)
	}
	a.last = nil
}

// countIdleLocked counts the idle connections.
func (p *Pool) countIdleLocked() int { return p.idle.n + p.kept.n }
