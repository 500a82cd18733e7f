package telemetry

import (
	"net"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// endpoint is where a server is: a name or address with a port, or the directory of a socket.
type endpoint struct {
	host string
	port uint16
}

func (e endpoint) String() string { return net.JoinHostPort(e.host, strconv.Itoa(int(e.port))) }

// attributes tell where a span's server is.
func (e endpoint) attributes() []attribute.KeyValue {
	attributes := []attribute.KeyValue{semconv.ServerAddress(e.host)}
	if e.port != defaultPort {
		attributes = append(attributes, semconv.ServerPort(int(e.port)))
	}
	return attributes
}

// defaultPort is left out of spans, as the conventions ask.
const defaultPort = 5432

// cacheLimit is how many texts of statements are remembered for each server. An application's own are some hundreds;
// texts with literals in them are new each time and push each other out.
const cacheLimit = 2048

// server is what is known of one server before the first statement runs there.
type server struct {
	attributes []attribute.KeyValue // on spans of statements, transactions and connects
	statements *sqltext.Cache[*statement]
	prepares   *sqltext.Cache[*statement] // the same texts, when they are prepared
	summaries  *sqltext.Cache[*measured]
}

// serverAt returns the one for an endpoint, always the same.
func (t *Tracer) serverAt(e endpoint) *server {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.servers[e]; ok {
		return s
	}
	s := t.newServer(e)
	if len(t.servers) < maxServers {
		t.servers[e] = s
	}
	return s
}

// maxServers bounds how many servers are remembered, in case an application moves its connects to ever new ones. The
// connections to others have a server of their own each.
const maxServers = 64

func (t *Tracer) newServer(e endpoint) *server {
	where := append(slices.Clone(t.config.Attributes), semconv.DBSystemNamePostgreSQL)
	where = append(where, e.attributes()...)
	if t.config.Database != "" {
		where = append(where, semconv.DBNamespace(t.config.Database))
	}
	s := &server{attributes: append(slices.Clone(where), semconv.DBClientConnectionPoolName(t.poolName(endpoint{t.config.Host, t.config.Port})))}
	s.summaries = sqltext.NewCache(cacheLimit, func(summary string) *measured { return newMeasured(where, summary) })
	s.statements = sqltext.NewCache(cacheLimit, func(sql string) *statement { return t.newStatement(s, "", sql) })
	s.prepares = sqltext.NewCache(cacheLimit, func(sql string) *statement { return t.newStatement(s, "PREPARE", sql) })
	return s
}

// portOf reads a port, 0 if it is none.
func portOf(text string) uint16 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
