package wire

import "sync"

// Phase is where a request stands.
type Phase uint8

// The phases of a request.
const (
	Idle    Phase = iota // the server owes no answer, and nothing is being written
	Writing              // a request is being written
	Owing                // the server owes an answer
)

// debt is what the server owes. A user of the connection writes and reads in one goroutine after
// the other; the mutex is for a Handler that looks on.
type debt struct {
	mu      sync.Mutex
	writing bool
	owed    int  // how many ReadyForQuery messages
	open    bool // an extended request has been sent without its Sync (pgconn.Pipeline, Flush)
	sent    func()
}

// Owes reports whether the server owes an answer to a request that is written.
func (w *Wire) Owes() bool {
	if w == nil {
		return false
	}
	w.debt.mu.Lock()
	defer w.debt.mu.Unlock()
	return w.debt.phase() == Owing
}

// Idle reports whether the server owes no answer, and nothing is being written. It is false on a nil
// Wire, which does not know.
func (w *Wire) Idle() bool {
	if w == nil {
		return false
	}
	w.debt.mu.Lock()
	defer w.debt.mu.Unlock()
	return w.debt.phase() == Idle
}

// OnSent returns the phase of the present request. Unless that is Owing, sent is called once, when
// the next request, or the one that is being written, is on its way: by the goroutine that writes,
// before it reads. Forget takes sent back.
func (w *Wire) OnSent(sent func()) Phase {
	if w == nil {
		return Idle
	}
	w.debt.mu.Lock()
	defer w.debt.mu.Unlock()
	phase := w.debt.phase()
	if phase != Owing {
		w.debt.sent = sent
	}
	return phase
}

func (d *debt) phase() Phase {
	switch {
	case d.writing:
		return Writing
	case d.owed > 0 || d.open:
		return Owing
	}
	return Idle
}

// Forget makes sure that what OnSent was given is not called any more. Only the connection's user
// may call it.
func (w *Wire) Forget() {
	if w == nil {
		return
	}
	w.debt.mu.Lock()
	defer w.debt.mu.Unlock()
	w.debt.sent = nil
}

func (d *debt) write() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writing = true
}

// written counts what was asked. It is counted after it was written: a cancel request that arrives
// before the statement does nothing (postgres.c, ProcessInterrupts, DoingCommandRead).
func (d *debt) written(asked requests, err error) {
	d.mu.Lock()
	d.writing = false
	if err != nil {
		d.mu.Unlock()
		return
	}
	d.owed += asked.syncs
	d.open = asked.open
	sent := d.sent
	d.sent = nil
	d.mu.Unlock()
	if sent != nil {
		sent()
	}
}

// pay counts a ReadyForQuery. There is one that is not owed when a login ends, and after
// pgconn.PgConn.ExecBatch.
func (d *debt) pay() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owed = max(0, d.owed-1)
}
