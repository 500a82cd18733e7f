package pgtest

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// link is one connection through a Proxy.
type link struct {
	proxy              *Proxy
	client             net.Conn
	toServer, toClient atomic.Bool // what is sent in this direction is lost
}

// pace is how traffic flows.
type pace struct {
	late  time.Duration
	bytes int // at a time, 0 for all there are
}

// Direction is a way through a Proxy.
type Direction int

// The directions. They are flags.
const (
	ToServer Direction = 1 << iota
	ToClient
)

// Lose makes the connections that are open now lose all that is sent in these directions from now
// on, as when the other side is gone without a word: a client does not hear of their end either.
// The server hears of it when a client closes one, so that it has none left. New connections are as
// they should be.
func (p *Proxy) Lose(where Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.toServer.Store(where&ToServer != 0)
		l.toClient.Store(where&ToClient != 0)
	}
}

// Delay makes everything arrive this much later, in each direction. Zero ends it.
func (p *Proxy) Delay(late time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.late = late
}

// Drip passes everything on in pieces of so many bytes. Zero ends it.
func (p *Proxy) Drip(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.bytes = bytes
}

// Abort ends all connections that are open now with a reset. It returns when the clients' sockets
// have heard of it.
func (p *Proxy) Abort() {
	p.end(func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) })
}

// Open returns how many connections clients have to the proxy now. Connections of cancel requests
// count, and connections that have not sent anything yet.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

func (p *Proxy) link(client net.Conn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &link{proxy: p, client: client}
	p.links[l] = struct{}{}
	return l
}

func (p *Proxy) unlink(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// errEnding says that the test is over.
var errEnding = errors.New("the proxy ends")

// pass gives data to one side, at the proxy's pace, or drops it.
func (l *link) pass(to net.Conn, data []byte, lost *atomic.Bool) error {
	l.proxy.wait()
	l.proxy.mu.Lock()
	pace := l.proxy.pace
	l.proxy.mu.Unlock()
	if pace.late > 0 {
		late := time.NewTimer(pace.late)
		defer late.Stop()
		select {
		case <-late.C:
		case <-l.proxy.ending:
			return errEnding
		}
	}
	for len(data) > 0 && !lost.Load() {
		n := len(data)
		if pace.bytes > 0 {
			n = min(n, pace.bytes)
		}
		if _, err := to.Write(data[:n]); err != nil {
			if l.toClient.Load() {
				return nil // neither side gets an error
			}
			return err
		}
		data = data[n:]
	}
	return nil
}
