package pgsafe

import "time"

// Stats is a snapshot of the physical pool. sql.DB.Stats tells of leases; this tells of connections, which is what
// the server sees.
type Stats struct {
	Max        int // the cap, 0 for none
	Total      int // connections open or being opened: InUse + Idle + Connecting
	InUse      int // at work, for the *sql.DB or for native code on Connector.Pool
	Idle       int // not at work, whether in the pool or parked
	Parked     int // of the idle ones, those that database/sql keeps as idle leases
	Connecting int // being opened
	Waiting    int // callers who wait for a connection, or for one to be opened

	Opened        int64         // attempts to open a connection, ever
	Acquired      int64         // times a connection was taken from the pool
	HandedOver    int64         // times one went from a lease that came back to a caller who waited, past the pool
	Waited        int64         // times that had to wait, for a free connection or for a new one
	WaitTime      time.Duration // time spent in those waits
	TakenBack     int64         // parked connections that were taken back for somebody who waited
	ClosedForIdle int64         // connections closed for being idle too long
	ClosedForAge  int64         // connections closed for their age
}

// Stats returns a snapshot. Its numbers are read one after another, so under load they may differ by a connection
// that moves meanwhile. It is all zeros, but for Max, before the first use.
func (c *Connector) Stats() Stats {
	s := Stats{Max: int(c.profile.MaxConns)}
	pool := c.pool.Load()
	if pool == nil {
		return s
	}
	o, p := c.lot.occupancy(), pool.Stat()
	s.Total, s.Connecting = int(p.TotalConns()), int(p.ConstructingConns())
	s.Parked = o.parked
	s.InUse = max(0, int(p.AcquiredConns())-o.parked)
	s.Idle = s.Total - s.InUse - s.Connecting
	s.Waiting = o.acquiring
	s.Opened, s.Acquired = p.NewConnsCount(), p.AcquireCount()
	s.HandedOver = o.handedOver
	s.Waited, s.WaitTime = p.EmptyAcquireCount()+o.handedOver, p.EmptyAcquireWaitTime()+o.waited
	s.TakenBack = o.takenBack
	s.ClosedForIdle, s.ClosedForAge = p.MaxIdleDestroyCount(), p.MaxLifetimeDestroyCount()
	return s
}
