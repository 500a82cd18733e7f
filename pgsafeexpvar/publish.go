// Package pgsafeexpvar publishes a pool's statistics as a variable of package expvar, for programs
// without OpenTelemetry and Prometheus:
//
//	pgsafeexpvar.Publish("orders_db", db) // then GET /debug/vars
//
// It is not part of package pgsafe because importing expvar adds /debug/vars, which shows the command
// line and memory statistics, to http.DefaultServeMux. A driver must not do that to a program.
package pgsafeexpvar

import (
	"database/sql"
	"expvar"
	"fmt"

	"github.com/pgsafe/pgsafe"
)

// stats is what is published. Times are in seconds.
type stats struct {
	Max                int     `json:"max"`
	Total              int     `json:"total"`
	InUse              int     `json:"in_use"`
	Idle               int     `json:"idle"`
	Connecting         int     `json:"connecting"`
	Waiting            int     `json:"waiting"`
	Opened             int64   `json:"opened"`
	Failed             int64   `json:"failed"`
	Acquired           int64   `json:"acquired"`
	Waited             int64   `json:"waited"`
	WaitSeconds        float64 `json:"wait_seconds"`
	ClosedForIdle      int64   `json:"closed_for_idle"`
	ClosedForAge       int64   `json:"closed_for_age"`
	HandlesWaited      int64   `json:"handles_waited"`
	HandlesWaitSeconds float64 `json:"handles_wait_seconds"`
}

// Publish makes pgsafe.Stats of db's pool the variable name, as a JSON object. Each read of the
// variable takes a new snapshot. The object also has "handles_waited" and "handles_wait_seconds",
// the waits inside database/sql, which a limit of SetMaxOpenConns causes.
//
// The error says that db is not of the pgsafe driver, or that a layer hides its Connector. Like
// expvar.Publish, it panics if the name is taken. A variable cannot be removed: it stays when db is
// closed.
func Publish(name string, db *sql.DB) error {
	c, ok := pgsafe.ConnectorOf(db)
	if !ok {
		return fmt.Errorf("pgsafeexpvar: the *sql.DB of %q is not one of the pgsafe driver, or a layer hides its Connector", name)
	}
	expvar.Publish(name, expvar.Func(func() any { return snapshot(c, db) }))
	return nil
}

func snapshot(c *pgsafe.Connector, db *sql.DB) stats {
	s, handles := c.Stats(), db.Stats()
	return stats{
		Max: s.Max, Total: s.Total, InUse: s.InUse, Idle: s.Idle, Connecting: s.Connecting, Waiting: s.Waiting,
		Opened: s.Opened, Failed: s.Failed, Acquired: s.Acquired, Waited: s.Waited, WaitSeconds: s.WaitTime.Seconds(),
		ClosedForIdle: s.ClosedForIdle, ClosedForAge: s.ClosedForAge,
		HandlesWaited: handles.WaitCount, HandlesWaitSeconds: handles.WaitDuration.Seconds(),
	}
}
