package bench_test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// relay passes on what clients and a server send each other, late by half a round trip in each
// direction. It does not read the messages, so unlike pgtest.Proxy it lets TLS through. Like a
// long line it takes more bytes while others are on their way.
type relay struct {
	target   string
	late     time.Duration // in each direction
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// newRelay starts a relay in front of target. It ends with the test.
func newRelay(tb testing.TB, target string, roundTrip time.Duration) *relay {
	tb.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &relay{target: target, late: roundTrip / 2, listener: listener, open: map[net.Conn]struct{}{}}
	r.running.Go(r.accept)
	tb.Cleanup(r.close)
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serve(client) })
	}
}

func (r *relay) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp4", r.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !r.track(client, server) {
		return
	}
	defer r.forget(client, server)
	var back sync.WaitGroup
	back.Go(func() { r.pass(client, server) })
	r.pass(server, client)
	back.Wait()
}

// track makes close reach the connections, and reports whether the relay still runs.
func (r *relay) track(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		r.open[conn] = struct{}{}
	}
	return !r.closed
}

func (r *relay) forget(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		delete(r.open, conn)
	}
}

// parcel is some bytes on their way.
type parcel struct {
	data []byte
	due  time.Time
}

// pass copies from one side to the other until the first ends. The other learns of the end as late
// as of the bytes.
func (r *relay) pass(to, from net.Conn) {
	line := make(chan parcel, 1024)
	go func() { // ends when from does, at the latest with the relay
		defer close(line)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			line <- parcel{buf[:n], time.Now().Add(r.late)}
			if err != nil {
				return
			}
		}
	}()
	for p := range line {
		<-time.After(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			_ = from.Close() // nothing more can arrive
		}
	}
	_ = to.(*net.TCPConn).CloseWrite()
}

func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for conn := range r.open {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.running.Wait()
}
