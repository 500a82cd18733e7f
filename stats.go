package pgsafe

import "time"

// Stats is a snapshot of the pool of server connections. sql.DB.Stats counts handles; this counts connections, which
// is what the server sees.
type Stats struct {
	Max        int // the cap, 0 for none
	Total      int // connections open or being opened: InUse + Idle + Connecting
	InUse      int // in use, or being reset
	Idle       int
	Connecting int // being opened
	Waiting    int // callers that wait for a connection

	Opened        int64         // dials begun, ever
	Failed        int64         // dials that failed, and connections that ended before their first use
	Acquired      int64         // times a caller asked for a connection
	Waited        int64         // times a caller waited, for a free connection or for a new one
	WaitTime      time.Duration // the time of all those waits
	ClosedForIdle int64         // connections closed for being idle too long
	ClosedForAge  int64         // connections closed for their age
}

// Stats returns a snapshot, taken at one moment. It is all zeros, but for Max, before the first use, and with
// WithNativeConn.
func (c *Connector) Stats() Stats {
	s := c.pool.Stats()
	return Stats{
		Max: s.Max, Total: s.Total, InUse: s.InUse, Idle: s.Idle, Connecting: s.Dialing, Waiting: s.Waiting,
		Opened: s.Dialed, Failed: s.DialFailed, Acquired: s.Acquired, Waited: s.Waited, WaitTime: s.WaitTime,
		ClosedForIdle: s.ClosedForIdle, ClosedForAge: s.ClosedForAge,
	}
}
