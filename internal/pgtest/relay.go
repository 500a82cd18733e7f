package pgtest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Relay is a slow network between clients and a server. Everything arrives later, in each
// direction, and making a connection costs a round trip. Unlike a Proxy it passes TLS on, and
// counts nothing.
type Relay struct {
	cluster  *Cluster
	listener net.Listener
	late     time.Duration
	running  sync.WaitGroup
	ending   chan struct{} // closed when the test ends

	mu   sync.Mutex
	open []net.Conn
}

// NewRelay starts a relay in front of the TCP port of c, with this latency in each direction. It
// ends with the test.
func NewRelay(tb testing.TB, c *Cluster, late time.Duration) *Relay {
	tb.Helper()
	r := &Relay{cluster: c, listener: listen(tb), late: late, ending: make(chan struct{})}
	r.running.Go(r.accept)
	tb.Cleanup(r.close)
	return r
}

// URI is the cluster's URI of database, through the relay.
func (r *Relay) URI(database string) string {
	host, port := hostPort(r.listener)
	direct := fmt.Sprintf("@%s:%d/", r.cluster.Host(), r.cluster.Port())
	return strings.Replace(r.cluster.URI(database), direct, fmt.Sprintf("@%s:%d/", host, port), 1)
}

func (r *Relay) close() {
	close(r.ending)
	_ = r.listener.Close()
	r.mu.Lock()
	for _, conn := range r.open {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.running.Wait()
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp4", net.JoinHostPort(r.cluster.Host(), strconv.Itoa(r.cluster.Port())))
		if err != nil {
			_ = client.Close()
			continue
		}
		r.mu.Lock()
		r.open = append(r.open, client, server)
		r.mu.Unlock()
		begins := time.Now().Add(2 * r.late)
		r.running.Go(func() { r.pass(client, server, begins) })
		r.running.Go(func() { r.pass(server, client, begins) })
	}
}

// parcel is what arrives at a time. The last one is empty.
type parcel struct {
	data []byte
	due  time.Time
}

// pass passes on what from says, and its end. Nothing leaves before begins.
func (r *Relay) pass(from, to net.Conn, begins time.Time) {
	parcels := make(chan parcel, 1<<10)
	r.running.Go(func() { r.deliver(to, parcels) })
	defer close(parcels)
	for {
		data := make([]byte, 32<<10)
		n, err := from.Read(data)
		leaves := time.Now()
		if leaves.Before(begins) {
			leaves = begins
		}
		select {
		case parcels <- parcel{data[:n], leaves.Add(r.late)}:
		case <-r.ending:
			return
		}
		if err != nil {
			return
		}
	}
}

// deliver hands over what is due, and then closes the connection.
func (r *Relay) deliver(to net.Conn, parcels <-chan parcel) {
	for p := range parcels {
		due := time.NewTimer(time.Until(p.due))
		select {
		case <-due.C:
		case <-r.ending:
			due.Stop()
		}
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_ = to.Close()
	for range parcels { // the sender must not wait
	}
}
