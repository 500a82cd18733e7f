package telemetry

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pgsafe/pgsafe/internal/failure"
)

var _ pgx.ConnectTracer = (*Tracer)(nil)

// connectName is the name of a dial's span.
const connectName = "CONNECT"

// The events of a dial are its steps. A step that failed has error.type. With several hosts or
// addresses a step can occur several times.
const (
	dnsEvent  = "dns"
	tcpEvent  = "tcp"
	tlsEvent  = "tls"
	authEvent = "auth"
)

// connecting is a dial under way.
type connecting struct {
	span    trace.Span // nil if there is none
	started time.Time

	mu     sync.Mutex
	names  map[string]string // address to the host name that was looked up
	chosen endpoint          // of the last network connection
}

type connectingKey struct{}

func connectingOf(ctx context.Context) *connecting {
	c, _ := ctx.Value(connectingKey{}).(*connecting)
	return c
}

// TraceConnectStart begins the span of a dial.
func (t *Tracer) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	e := endpoint{data.ConnConfig.Host, data.ConnConfig.Port}
	c := &connecting{started: time.Now(), names: make(map[string]string), chosen: e}
	if t.wantsSpan(ctx) {
		ctx, c.span = t.tracer.Start(ctx, connectName, clientKind, trace.WithAttributes(t.serverAt(e).attributes...),
			trace.WithAttributes(dialingOf(ctx).attributes()...))
	}
	return context.WithValue(ctx, connectingKey{}, c)
}

// TraceConnectEnd ends the span, and measures the time of the dial.
func (t *Tracer) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	c := connectingOf(ctx)
	if c == nil {
		return
	}
	if data.Conn != nil {
		t.remember(data.Conn, c.chosen)
		t.metrics.created(ctx, time.Since(c.started))
	} else {
		t.dialFailed(ctx, c.started, data.Err)
	}
	if c.span == nil {
		return
	}
	c.span.SetAttributes(c.chosen.attributes()...) // one server of several
	t.outcomeOfDial(ctx, data.Err).mark(c.span)
	c.span.End()
}

// outcomeOfDial classifies the error of a dial. What the server said has a SQLSTATE.
func (t *Tracer) outcomeOfDial(ctx context.Context, err error) outcome {
	o := outcomeOf(ctx, err)
	if o.failed() && o.server == nil {
		o.errorType = string(t.dialReason(err))
	}
	return o
}

// event adds a step to the span.
func (c *connecting) event(ctx context.Context, name string, err error, attributes ...attribute.KeyValue) {
	if c.span == nil {
		return
	}
	o := outcomeOf(ctx, err)
	if o.failed() {
		o.errorType = string(failure.DialReason(err))
	}
	attributes = append(attributes, o.measured()...)
	c.span.AddEvent(name, trace.WithAttributes(attributes...))
}

// Watch makes the steps of a dial visible: it wraps the functions of config that are its steps.
// config is the copy for one dial.
func (t *Tracer) Watch(config *pgconn.Config) {
	if t == nil {
		return
	}
	config.LookupFunc = watchLookup(config.LookupFunc)
	config.DialFunc = watchDial(config.DialFunc)
	config.AfterNetConnect = watchNetConnect(config.AfterNetConnect)
	config.ValidateConnect = watchAuth(config.ValidateConnect)
}

func watchLookup(lookup pgconn.LookupFunc) pgconn.LookupFunc {
	return func(ctx context.Context, host string) ([]string, error) {
		addresses, err := lookup(ctx, host)
		if c := connectingOf(ctx); c != nil {
			c.lookedUp(host, addresses)
			if _, notAnAddress := netip.ParseAddr(host); notAnAddress != nil {
				c.event(ctx, dnsEvent, err, semconv.ServerAddress(host))
			}
		}
		return addresses, err
	}
}

func (c *connecting) lookedUp(host string, addresses []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, address := range addresses {
		c.names[address] = host
	}
}

func watchDial(dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if c := connectingOf(ctx); c != nil {
			c.dialed(network, address)
			c.event(ctx, tcpEvent, err, peer(network, address)...)
		}
		return conn, err
	}
}

// dialed records the server by its host name if it was looked up.
func (c *connecting) dialed(network, address string) {
	e := endpointOf(network, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, found := range []string{e.host, address} {
		if name, ok := c.names[found]; ok {
			e.host = name
		}
	}
	c.chosen = e
}

// endpointOf parses the result of pgconn.NetworkAddress.
func endpointOf(network, address string) endpoint {
	if network == "unix" {
		dir, number, _ := strings.Cut(address, "/.s.PGSQL.")
		return endpoint{dir, portOf(number)}
	}
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return endpoint{host: address}
	}
	return endpoint{host, portOf(number)}
}

// peer returns the attributes of a dialed address.
func peer(network, address string) []attribute.KeyValue {
	e := endpointOf(network, address)
	if network == "unix" {
		return []attribute.KeyValue{semconv.NetworkTransportUnix, semconv.NetworkPeerAddress(address)}
	}
	return []attribute.KeyValue{
		semconv.NetworkTransportTCP, semconv.NetworkPeerAddress(e.host), semconv.NetworkPeerPort(int(e.port)),
	}
}

type netConnectFunc = func(context.Context, *pgconn.Config, net.Conn) (net.Conn, error)

// watchNetConnect makes the TLS handshake a step. pgconn leaves the handshake to the first write
// (pgconn.go, startTLS), where it would look like a part of authentication.
func watchNetConnect(next netConnectFunc) netConnectFunc {
	return func(ctx context.Context, config *pgconn.Config, conn net.Conn) (net.Conn, error) {
		if encrypted, ok := conn.(*tls.Conn); ok {
			err := encrypted.HandshakeContext(ctx)
			if c := connectingOf(ctx); c != nil {
				c.event(ctx, tlsEvent, err, tlsAttributes(encrypted.ConnectionState())...)
			}
			if err != nil {
				return conn, err
			}
		}
		if next == nil {
			return conn, nil
		}
		return next(ctx, config, conn)
	}
}

// tlsAttributes returns version and cipher, or nothing if the handshake failed.
func tlsAttributes(s tls.ConnectionState) []attribute.KeyValue {
	if !s.HandshakeComplete {
		return nil
	}
	version := strings.TrimPrefix(tls.VersionName(s.Version), "TLS ")
	return []attribute.KeyValue{
		semconv.TLSProtocolNameTLS, semconv.TLSProtocolVersion(version),
		semconv.TLSCipher(tls.CipherSuiteName(s.CipherSuite)),
	}
}

// watchAuth makes the end of the login a step.
func watchAuth(validate pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		if c := connectingOf(ctx); c != nil {
			c.event(ctx, authEvent, nil)
		}
		if validate == nil {
			return nil
		}
		return validate(ctx, conn)
	}
}
