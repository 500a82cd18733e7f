package guard

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// traffic knows whether the server owes an answer. Without one there is nothing to cancel: the context was that of
// somebody who waits for a notification (PgConn.WaitForNotification), which by itself leaves the connection as it is.
type traffic struct {
	owed atomic.Bool
}

// watchTraffic lets t read along on the connection that config is for.
func watchTraffic(config *pgconn.Config, t *traffic) {
	build := config.BuildFrontend
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return build(trafficReader{r, t}, trafficWriter{w, t})
	}
}

type trafficWriter struct {
	io.Writer
	traffic *traffic
}

// Write is called with whole messages (pgproto3.Frontend, Flush), of which Terminate is the one that asks nothing.
func (w trafficWriter) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] != 'X' {
		w.traffic.owed.Store(true)
	}
	return w.Writer.Write(p)
}

type trafficReader struct {
	io.Reader
	traffic *traffic
}

// readyForQuery is how the message begins that ends every answer; a byte follows, for the state of the transaction.
var readyForQuery = []byte{'Z', 0, 0, 0, 5}

// Read looks for it at the end of what came, where it is unless the network has torn it. If it is missed a needless
// request is sent; if data look like it, a connection is closed as pgx would.
func (r trafficReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if end := n - len(readyForQuery) - 1; end >= 0 && bytes.HasPrefix(p[end:n], readyForQuery) {
		r.traffic.owed.Store(false)
	}
	return n, err
}

// settleTime is how long a statement that is about to be written is given for that, on a busy machine.
const settleTime = 20 * time.Millisecond

// isOwed reports whether the server owes an answer. pgconn watches a statement's context from just before it is
// written, so what is not there yet may come.
func (t *traffic) isOwed() bool {
	if t.owed.Load() {
		return true
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(settleTime); !t.owed.Load(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
