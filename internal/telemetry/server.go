package telemetry

import (
	"net"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/pgsafe/pgsafe/internal/sqltext"
)

// endpoint is the address of a server: a name or IP address with a port, or the directory of a
// socket.
type endpoint struct {
	host string
	port uint16
}

func (e endpoint) String() string { return net.JoinHostPort(e.host, strconv.Itoa(int(e.port))) }

// attributes returns the attributes of the server's address.
func (e endpoint) attributes() []attribute.KeyValue {
	attributes := []attribute.KeyValue{semconv.ServerAddress(e.host)}
	if e.port != defaultPort {
		attributes = append(attributes, semconv.ServerPort(int(e.port)))
	}
	return attributes
}

// defaultPort is left out of spans, as the conventions require.
const defaultPort = 5432

// cacheLimit bounds the texts of statements that are remembered for each server. An application has
// some hundreds of them. Texts with literals are new each time and evict each other.
const cacheLimit = 2048

// server is the state of one server that all its connections share.
type server struct {
	attributes []attribute.KeyValue // on spans of statements, transactions and connects
	statements *sqltext.Cache[*statement]
	prepares   *sqltext.Cache[*statement] // the same texts, for Prepare
	summaries  *sqltext.Cache[*measured]
}

// serverAt returns the server of an endpoint, the same one for each call.
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

// maxServers bounds the servers that are remembered, for an application that dials a new address
// each time. Beyond the bound each connection has a server of its own.
const maxServers = 64

func (t *Tracer) newServer(e endpoint) *server {
	where := append(slices.Clone(t.config.Attributes), semconv.DBSystemNamePostgreSQL)
	where = append(where, e.attributes()...)
	if t.config.Database != "" {
		where = append(where, semconv.DBNamespace(t.config.Database))
	}
	s := &server{attributes: append(slices.Clone(where), semconv.DBClientConnectionPoolName(t.config.poolName()))}
	s.summaries = sqltext.NewCache(cacheLimit, func(summary string) *measured { return newMeasured(where, summary) })
	s.statements = sqltext.NewCache(cacheLimit, func(sql string) *statement { return t.newStatement(s, "", sql) })
	s.prepares = sqltext.NewCache(cacheLimit, func(sql string) *statement { return t.newStatement(s, "PREPARE", sql) })
	return s
}

// portOf parses a port. It returns 0 for a text that is not a port.
func portOf(text string) uint16 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
