package pgsafe_test

import "testing"

// The model of the parking protocol (parking.go, line.go): every interleaving of a few callers over a few connections is
// walked through, one atomic step at a time. A step is what the code does under one lock. What must never be
// reached is a state in which nobody can move and somebody waits for a connection, or in which one is idle meanwhile.

// step is where a caller is.
type step uint8

const (
	begins   step = iota // looks for a connection
	inLine               // waits for a lease that comes back
	called               // its turn has come, and the pool has a connection for it; acquireStarted comes next
	started              // acquireStarted has counted it; rebalance comes next
	asks                 // before the pool's queue
	got                  // out of the queue with a connection; acquireEnded comes next
	ended                // acquireEnded has discounted it; rebalance comes next
	fresh                // has a lease and has not used it yet
	left                 // never will: its caller has gone, and database/sql keeps the lease
	emptied              // its fresh lease has lost the connection; it asks for another when it is used
	works                // uses the connection
	gives                // was told to give the connection back; released comes next
	released             // the lot knows that it was given back; the pool comes next
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
	lineLast  bool
}

// protocol says after which events the parking lot is looked at.
type protocol struct {
	connections                    int8
	onStart, onEnd, onPark, onLend bool
	onJoin                         bool // who joins the line looks for fresh leases
	onRelease, onRoom              bool // the line is called when a connection is released, and when somebody has got one of several
	turns                          bool // the line and the pool's queue take turns
}

// held are the connections that the lot knows in use.
func (s modelState) held() int8 {
	return int8(s.count(ended) + s.count(fresh) + s.count(left) + s.count(works) + s.count(gives))
}

// waiting counts those who wait.
func (s modelState) waiting() int8 { return s.acquiring + int8(s.count(inLine)) }

// room is roomLocked.
func (p protocol) room(s modelState) modelState {
	if s.acquiring == 0 && s.held()+s.parked < p.connections {
		for i, at := range s.at {
			if at == inLine {
				s.at[i] = called
				break
			}
		}
	}
	return s
}

// join is join, for a caller that has no connection.
func (p protocol) join(s modelState, i int) modelState {
	if i == native || s.held() < p.connections {
		s.acquiring++
		s.at[i] = started
		return s
	}
	s.at[i] = inLine
	s.armed = s.armed || p.onJoin && s.count(fresh)+s.count(left) > 0
	return s
}

// park is park, and yields more than one state if it has a choice: the line has an order, which the model does without.
func (p protocol) park(s modelState, i int, yield func(modelState)) {
	wanted := p.onPark && s.acquiring > 0 && s.free == 0
	line := s.count(inLine)
	switch {
	case i == native:
		s.at[i] = gives
		yield(s)
	case wanted && (line == 0 || p.turns && s.lineLast):
		s.at[i], s.lineLast = gives, false
		yield(s)
	case line > 0:
		s.at[i], s.lineLast = finished, p.turns
		for j, at := range s.at {
			if at == inLine {
				n := s
				n.at[j] = fresh
				n.armed = n.armed || p.onLend && n.waiting() > 0
				yield(n)
			}
		}
	default:
		s.parked++
		s.at[i] = finished
		yield(s)
	}
}

func (p protocol) rebalance(s modelState) modelState {
	if s.free > 0 {
		return s
	}
	n := min(s.waiting(), s.parked)
	s.parked -= n
	s.taken += n
	s.armed = s.armed || s.waiting() > n && s.count(fresh)+s.count(left) > 0
	return s
}

// tick is the timer: fresh leases are ripe.
func (p protocol) tick(s modelState) modelState {
	s.armed = false
	if s = p.rebalance(s); s.free > 0 {
		return s
	}
	s.armed = false
	n := s.waiting() - s.taken
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
		if p.onRelease {
			r = p.room(r)
		}
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
			n = p.join(n, i)
		case emptied:
			n = p.join(n, i)
		case inLine:
			continue
		case called:
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
			if p.onRoom {
				n = p.room(n)
			}
		case ended:
			if p.onEnd {
				n = p.rebalance(n)
			}
			if i == native {
				n.at[i] = works
				break
			}
			n.at[i] = fresh
			n.armed = n.armed || p.onLend && n.waiting() > 0
		case fresh:
			gone := s
			gone.at[i] = left
			yield(gone)
			n.at[i] = works
		case left:
			continue
		case works:
			p.park(n, i, yield)
			continue
		case gives:
			n.at[i] = released
			if p.onRelease {
				n = p.room(n)
			}
		case released:
			n.free++
			n.at[i] = finished
		case finished:
			continue
		}
		yield(n)
	}
}

// reaches walks through all states and reports whether one of them is bad, and how many there are.
func (p protocol) reaches(bad func(s modelState, stuck bool) bool) (bool, int) {
	initial := modelState{free: p.connections}
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
func starves(s modelState, stuck bool) bool { return stuck && s.waiting() > 0 }

// waitsNeedlessly is a state in which somebody waits, a connection is idle, and nothing happens until one who
// works is done.
func waitsNeedlessly(s modelState, _ bool) bool {
	inPool := s.count(inLine) > 0 && s.free > 0 && s.count(asks) == 0
	return s.waiting() > 0 && (s.parked+int8(s.count(left)) > 0 && s.free == 0 || inPool) && s.onlyWorkersMove()
}

func (s modelState) onlyWorkersMove() bool {
	for _, at := range s.at {
		if at != works && at != asks && at != inLine && at != left && at != finished {
			return false
		}
	}
	return s.taken == 0 && !s.armed
}

func TestParkingModel(t *testing.T) {
	whole := protocol{
		onStart: true, onEnd: true, onPark: true, onLend: true, onJoin: true, onRelease: true, onRoom: true, turns: true,
	}
	for whole.connections = 1; whole.connections <= 3; whole.connections++ {
		found, states := whole.reaches(starves)
		t.Logf("%d connections, %d callers: %d states", whole.connections, modelCallers, states)
		if found {
			t.Errorf("with %d connections somebody waits for ever", whole.connections)
		}
		if found, _ := whole.reaches(waitsNeedlessly); found {
			t.Errorf("with %d connections somebody waits while one is idle", whole.connections)
		}
	}
	// Each of the looks is needed, so the model can find what it looks for.
	for _, c := range []struct {
		name        string
		leaveOut    func(*protocol)
		connections int8
		bad         func(modelState, bool) bool
	}{
		{"a look when a caller begins to acquire somebody starves", func(p *protocol) { p.onStart = false }, 1, starves},
		{"a look when a lease is put aside somebody starves", func(p *protocol) { p.onPark = false }, 1, starves},
		{"a look when a caller got the last connection somebody waits needlessly", func(p *protocol) { p.onEnd = false }, 2, waitsNeedlessly},
		{"a look when a lease is handed out somebody starves", func(p *protocol) { p.onLend = false }, 1, starves},
		{"a look when a caller joins the line somebody starves", func(p *protocol) { p.onJoin = false }, 1, starves},
		{"a call when a connection is released somebody starves", func(p *protocol) { p.onRelease = false }, 1, starves},
		{"a call when somebody has got one somebody waits needlessly", func(p *protocol) { p.onRoom = false }, 2, waitsNeedlessly},
	} {
		t.Run("without "+c.name, func(t *testing.T) {
			without := whole
			without.connections = c.connections
			c.leaveOut(&without)
			if found, _ := without.reaches(c.bad); !found {
				t.Error("the model finds nothing wrong, so it proves nothing")
			}
		})
	}
}
