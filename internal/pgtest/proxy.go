package pgtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The codes that stand in the place of a protocol version in a client's first message.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104
)

// Proxy stands between clients and a server, counts what the clients send, and can stop passing it
// on. It refuses TLS, since it could not count then.
type Proxy struct {
	target   string
	cluster  *Cluster
	listener net.Listener
	running  sync.WaitGroup
	ending   chan struct{} // closed when the test ends

	mu          sync.Mutex
	open        map[net.Conn]struct{} // both sides of every connection
	links       map[*link]struct{}
	pace        pace
	closed      bool
	gate        chan struct{} // closed while traffic flows
	messages    map[byte]int64
	connections int64
	cancels     int64
}

// NewProxy starts a proxy in front of the TCP port of c. It ends with the test.
func NewProxy(tb testing.TB, c *Cluster) *Proxy {
	tb.Helper()
	p := &Proxy{
		target:   net.JoinHostPort(c.Host(), strconv.Itoa(c.Port())),
		cluster:  c,
		listener: listen(tb),
		open:     map[net.Conn]struct{}{},
		links:    map[*link]struct{}{},
		ending:   make(chan struct{}),
		gate:     make(chan struct{}),
		messages: map[byte]int64{},
	}
	close(p.gate)
	p.running.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

// URI is the cluster's URI of database, through the proxy and without TLS.
func (p *Proxy) URI(database string) string {
	host, port := hostPort(p.listener)
	uri, _, _ := strings.Cut(p.cluster.URI(database), "?")
	direct := fmt.Sprintf("@%s:%d/", p.cluster.Host(), p.cluster.Port())
	return strings.Replace(uri, direct, fmt.Sprintf("@%s:%d/", host, port), 1) + "?sslmode=disable"
}

// Port is where the proxy listens on 127.0.0.1.
func (p *Proxy) Port() int {
	_, port := hostPort(p.listener)
	return port
}

// roundTrip are the types of messages that make a server answer at once: Query, Sync, Flush,
// FunctionCall, and CopyDone and CopyFail, which end a COPY.
const roundTrip = "QSHFcf"

// RoundTrips returns how often clients have asked for an answer: Query, Sync, Flush, FunctionCall,
// CopyDone and CopyFail messages. Connecting and authenticating is not counted, nor are cancel
// requests. A message is counted before it is passed on, so what a client has the answer to is in.
func (p *Proxy) RoundTrips() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n int64
	for _, kind := range []byte(roundTrip) {
		n += p.messages[kind]
	}
	return n
}

// Messages returns how many messages of each type clients have sent, after the first of a
// connection: 'P' Parse, 'B' Bind, 'E' Execute, 'C' Close, 'S' Sync, 'Q' Query, 'p' password, 'X'
// Terminate, and so on. The map is the caller's.
func (p *Proxy) Messages() map[byte]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.messages)
}

// Connections returns how many sessions clients have asked for, whether or not they were let in.
// Cancel requests are not among them.
func (p *Proxy) Connections() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connections
}

// Cancels returns how many cancel requests clients have sent.
func (p *Proxy) Cancels() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cancels
}

// Reset sets all counts to zero.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages = map[byte]int64{}
	p.connections, p.cancels = 0, 0
}

// Hang stops the traffic in both directions: connections stay open, new ones are accepted, and no
// byte passes. Bytes under way may still arrive.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
		p.gate = make(chan struct{})
	default:
	}
}

// Flow ends Hang; what was held back is delivered.
func (p *Proxy) Flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// Cut closes all connections that are open now, as a network would that fails. It returns when the
// clients' sockets have heard of it.
func (p *Proxy) Cut() { p.end(func(net.Conn) {}) }

// end closes all connections that are open now, each of which is prepared before.
func (p *Proxy) end(prepare func(net.Conn)) {
	p.mu.Lock()
	var clients []net.Conn
	for l := range p.links {
		clients = append(clients, l.client)
	}
	for conn := range p.open {
		prepare(conn)
	}
	for conn := range p.open { // not before all are prepared: serve closes a connection when its other half is closed
		_ = conn.Close()
	}
	p.mu.Unlock()
	hearEnd(clients)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	close(p.ending)
	_ = p.listener.Close()
	p.Flow()
	p.Cut()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(conn) })
	}
}

// track makes Cut reach conn, and reports whether the proxy still runs.
func (p *Proxy) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.open[conn] = struct{}{}
	return true
}

func (p *Proxy) drop(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, conn)
}

// wait returns when traffic flows.
func (p *Proxy) wait() {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	<-gate
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	if !p.track(client) {
		return
	}
	l := p.link(client)
	defer p.unlink(l)
	first, err := p.firstMessage(client)
	if err != nil {
		return
	}
	server, err := net.Dial("tcp4", p.target)
	if err != nil {
		return
	}
	defer p.drop(server)
	if !p.track(server) {
		return
	}
	if l.pass(server, first, &l.toServer) != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		p.copy(l, server)
		if !l.toClient.Load() { // the end is lost like all else
			_ = client.Close()
		}
	})
	p.forward(server, l)
	// A client that is done sending may still wait for an answer: a cancel request's sender waits
	// for the end.
	_ = server.(*net.TCPConn).CloseWrite()
	back.Wait()
}

// firstMessage reads a client's first message, which has no type, and counts it.
func (p *Proxy) firstMessage(client net.Conn) ([]byte, error) {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(client, head); err != nil {
			return nil, err
		}
		length, code := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
		if code == sslRequest || code == gssRequest {
			p.wait()
			if _, err := client.Write([]byte{'N'}); err != nil {
				return nil, err
			}
			continue
		}
		if length < 8 || length > 10_000 {
			return nil, errors.New("not a startup message")
		}
		message := slices.Concat(head, make([]byte, length-8))
		if _, err := io.ReadFull(client, message[8:]); err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if code == cancelRequest {
			p.cancels++
		} else {
			p.connections++
		}
		return message, nil
	}
}

// forward passes a client's messages on, and counts each when its head is there.
func (p *Proxy) forward(server net.Conn, l *link) {
	buf := make([]byte, 32<<10)
	var parser messageParser
	for {
		n, err := l.client.Read(buf)
		if n > 0 {
			p.mu.Lock()
			parser.feed(buf[:n], func(kind byte) { p.messages[kind]++ })
			p.mu.Unlock()
			if l.pass(server, buf[:n], &l.toServer) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// copy passes a server's answers on.
func (p *Proxy) copy(l *link, server net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			if l.pass(l.client, buf[:n], &l.toClient) != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// messageParser finds the messages in a stream: a type, a length of four bytes that includes
// itself, a body.
type messageParser struct {
	head [5]byte
	have int // bytes of head
	body int // bytes of the body still to come
}

func (m *messageParser) feed(data []byte, found func(kind byte)) {
	for len(data) > 0 {
		if m.body > 0 {
			n := min(m.body, len(data))
			m.body -= n
			data = data[n:]
			continue
		}
		n := copy(m.head[m.have:], data)
		m.have += n
		data = data[n:]
		if m.have == len(m.head) {
			m.have = 0
			m.body = int(binary.BigEndian.Uint32(m.head[1:])) - 4
			found(m.head[0])
		}
	}
}
