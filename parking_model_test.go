package pgsafe_test

import "testing"

// The model of the parking protocol (parking.go): every interleaving of a few callers over a few connections is
// walked through, one atomic step at a time. A step is what the code does under one lock. What must never be
// reached is a state in which nobody can move, somebody waits for a connection, and another is parked.

// step is where a caller is.
type step uint8

const (
	begins   step = iota // before acquireStarted
	started              // acquireStarted has counted it; rebalance comes next
	asks                 // before the pool's queue
	got                  // out of the queue with a connection; acquireEnded comes next
	ended                // acquireEnded has discounted it; rebalance comes next
	fresh                // has a lease and has not used it yet
	left                 // never will: its caller has gone, and database/sql keeps the lease
	emptied              // its fresh lease has lost the connection; it asks for another when it is used
	works                // uses the connection
	gives                // was told to give the connection back, which comes next
	finished             // done; its lease is parked or gone
)

// modelCallers are so many, of whom the first is native code on Connector.Pool: it has no lease.
const (
	modelCallers = 4
	native       = 0
)

// modelState is small and comparable, so that states can be told apart.
type modelState struct {
	at        [modelCallers]step
	free      int8 // connections that the pool can give
	parked    int8
	taken     int8 // taken back by rebalance, not yet released to the pool
	acquiring int8
	armed     bool // a timer will look for fresh leases that nobody uses
}

// protocol says after which events the parking lot is looked at.
type protocol struct{ onStart, onEnd, onPark, onLend bool }

func (p protocol) rebalance(s modelState) modelState {
	if s.free > 0 {
		return s
	}
	n := min(s.acquiring, s.parked)
	s.parked -= n
	s.taken += n
	s.armed = s.armed || s.acquiring > n && s.count(fresh)+s.count(left) > 0
	return s
}

// tick is the timer: fresh leases are ripe.
func (p protocol) tick(s modelState) modelState {
	s.armed = false
	if s = p.rebalance(s); s.free > 0 {
		return s
	}
	s.armed = false
	n := s.acquiring - s.taken
	for i, at := range s.at {
		if n > 0 && (at == fresh || at == left) {
			s.taken++
			n--
			s.at[i] = map[step]step{fresh: emptied, left: finished}[at]
		}
	}
	return s
}

func (s modelState) count(which step) int {
	n := 0
	for _, at := range s.at {
		if at == which {
			n++
		}
	}
	return n
}

// next yields all states that one step leads to.
func (p protocol) next(s modelState, yield func(modelState)) {
	if s.taken > 0 {
		r := s
		r.taken--
		r.free++
		yield(r)
	}
	if s.armed {
		yield(p.tick(s))
	}
	for i, at := range s.at {
		n := s
		switch at {
		case begins:
			// A caller first looks for a parked lease, as database/sql does.
			if s.parked > 0 && i != native {
				w := s
				w.parked--
				w.at[i] = works
				yield(w)
			}
			n.acquiring++
			n.at[i] = started
		case emptied:
			n.acquiring++
			n.at[i] = started
		case started:
			if p.onStart {
				n = p.rebalance(n)
			}
			n.at[i] = asks
		case asks:
			if s.free == 0 {
				continue
			}
			n.free--
			n.at[i] = got
		case got:
			n.acquiring--
			n.at[i] = ended
		case ended:
			if p.onEnd {
				n = p.rebalance(n)
			}
			if i == native {
				n.at[i] = works
				break
			}
			n.at[i] = fresh
			n.armed = n.armed || p.onLend && n.acquiring > 0
		case fresh:
			gone := s
			gone.at[i] = left
			yield(gone)
			n.at[i] = works
		case left:
			continue
		case works:
			if i == native || p.onPark && s.acquiring > 0 && s.free == 0 {
				n.at[i] = gives
			} else {
				n.parked++
				n.at[i] = finished
			}
		case gives:
			n.free++
			n.at[i] = finished
		case finished:
			continue
		}
		yield(n)
	}
}

// reaches walks through all states and reports whether one of them is bad, and how many there are.
func (p protocol) reaches(connections int8, bad func(s modelState, stuck bool) bool) (bool, int) {
	initial := modelState{free: connections}
	seen := map[modelState]bool{initial: true}
	todo := []modelState{initial}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		stuck := true
		p.next(s, func(n modelState) {
			stuck = false
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		})
		if bad(s, stuck) {
			return true, len(seen)
		}
	}
	return false, len(seen)
}

// starves is a state in which somebody waits for ever.
func starves(s modelState, stuck bool) bool { return stuck && s.acquiring > 0 }

// waitsNeedlessly is a state in which somebody waits, a connection is idle, and nothing happens until one who
// works is done.
func waitsNeedlessly(s modelState, _ bool) bool {
	return s.acquiring > 0 && s.parked+int8(s.count(left)) > 0 && s.free == 0 && s.onlyWorkersMove()
}

func (s modelState) onlyWorkersMove() bool {
	for _, at := range s.at {
		if at != works && at != asks && at != left && at != finished {
			return false
		}
	}
	return s.taken == 0 && !s.armed
}

func TestParkingModel(t *testing.T) {
	whole := protocol{onStart: true, onEnd: true, onPark: true, onLend: true}
	for connections := int8(1); connections <= 3; connections++ {
		found, states := whole.reaches(connections, starves)
		t.Logf("%d connections, %d callers: %d states", connections, modelCallers, states)
		if found {
			t.Errorf("with %d connections somebody waits for ever while a connection is parked", connections)
		}
		if found, _ := whole.reaches(connections, waitsNeedlessly); found {
			t.Errorf("with %d connections somebody waits while a connection is parked", connections)
		}
	}
	// Each of the four looks is needed, so the model can find what it looks for.
	for _, c := range []struct {
		name        string
		without     protocol
		connections int8
		bad         func(modelState, bool) bool
	}{
		{"a look when a caller begins to acquire somebody starves", protocol{onEnd: true, onPark: true, onLend: true}, 1, starves},
		{"a look when a lease is put aside somebody starves", protocol{onStart: true, onEnd: true, onLend: true}, 1, starves},
		{"a look when a caller got the last connection somebody waits needlessly", protocol{onStart: true, onPark: true, onLend: true}, 2,
			waitsNeedlessly},
		{"a look when a lease is handed out somebody starves", protocol{onStart: true, onEnd: true, onPark: true}, 1, starves},
	} {
		t.Run("without "+c.name, func(t *testing.T) {
			if found, _ := c.without.reaches(c.connections, c.bad); !found {
				t.Error("the model finds nothing wrong, so it proves nothing")
			}
		})
	}
}
