package pgsafetest

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/scope"
	tracing "github.com/pgsafe/pgsafe/internal/telemetry"
)

// Statement is one kind of statement, and how often it ran.
type Statement struct {
	// Summary is the db.query.summary of telemetry, such as "SELECT orders".
	Summary string
	// InTx reports whether it ran in a transaction. BEGIN, COMMIT and ROLLBACK did.
	InTx  bool
	Count int
}

// Recording has the statements that ran on a *sql.DB since Record, or since the last Reset. It is
// safe for concurrent use.
type Recording struct {
	t testing.TB

	mu  sync.Mutex // guards ran
	ran []Statement
}

// Record records the statements of db until t ends: those of all contexts and goroutines, of
// package session, of prepared statements, and of native code in pgsafe.Raw, where each statement
// of a batch counts. They count when they start, whether they fail or not. BEGIN, COMMIT, ROLLBACK
// and SAVEPOINT count; pings, resets and the round trips of a context's settings do not. A
// statement that pgsafe runs again, because it never began, counts again.
//
// No telemetry need be set up. Record fails the test at once if db is not of the pgsafe driver, if
// a layer hides its Connector, if it has native connections (pgsafe.WithNativeConn), or if its
// telemetry is off.
func Record(t testing.TB, db *sql.DB) *Recording {
	t.Helper()
	tracer, err := tracerOf(db)
	if err != nil {
		t.Fatal(err)
	}
	r := &Recording{t: t}
	t.Cleanup(tracer.Record(r.add))
	return r
}

// tracerOf returns what sees the statements of db.
func tracerOf(db *sql.DB) (*tracing.Tracer, error) {
	c, ok := pgsafe.ConnectorOf(db)
	if !ok {
		return nil, fmt.Errorf("pgsafetest: the *sql.DB is not one of the pgsafe driver, or a layer hides its Connector")
	}
	d, ok := c.Driver().(interface{ Home() *scope.Home })
	switch {
	case !ok || d.Home() == nil:
		return nil, fmt.Errorf("pgsafetest: the *sql.DB has native connections")
	case d.Home().Tracer == nil:
		return nil, fmt.Errorf("pgsafetest: telemetry is off (pgsafe_telemetry=off, telemetry.Off), and statements " +
			"are recorded by the same means")
	}
	return d.Home().Tracer, nil
}

func (r *Recording) add(s tracing.Started) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.ran {
		if r.ran[i].Summary == s.Summary && r.ran[i].InTx == s.InTx {
			r.ran[i].Count++
			return
		}
	}
	r.ran = append(r.ran, Statement{s.Summary, s.InTx, 1})
}

// Statements returns the kinds of statements, in the order in which they first ran.
func (r *Recording) Statements() []Statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ran)
}

// Total returns how many statements ran.
func (r *Recording) Total() int { return total(r.Statements()) }

func total(ran []Statement) (n int) {
	for _, s := range ran {
		n += s.Count
	}
	return n
}

// Reset forgets the statements so far.
func (r *Recording) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ran = nil
}

// String returns the total and each kind, such as "3 statements: 1 SELECT orders, 2 UPDATE stock in
// a transaction".
func (r *Recording) String() string {
	ran := r.Statements()
	n := total(ran)
	head := fmt.Sprintf("%d statements", n)
	if n == 1 {
		head = "1 statement"
	}
	var kinds []string
	for _, s := range ran {
		kind := fmt.Sprintf("%d %s", s.Count, s.Summary)
		if s.InTx {
			kind += " in a transaction"
		}
		kinds = append(kinds, kind)
	}
	if kinds == nil {
		return head
	}
	return head + ": " + strings.Join(kinds, ", ")
}

// AtMost fails the test, with the statements, if more than n ran. The test goes on.
func (r *Recording) AtMost(n int) {
	r.t.Helper()
	if ran := r.String(); r.Total() > n {
		r.t.Errorf("more than %d ran: %s", n, ran)
	}
}
