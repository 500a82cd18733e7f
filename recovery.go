package pgsafe

import (
	"cmp"
	"context"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The connections of a pool belong to a generation. When one of them learns that the server ends its sessions, or is not
// the primary any more, the generation ends: those that are idle close, those in use close when they come back, and the
// pool's floor is filled up with new ones.

// stale tells whether the generation of a connection has ended.
func (c *Connector) stale(ph *physical) bool { return ph.generation != c.generation.Load() }

// watchErrors has every error that the server reports on config's connection looked at. It runs for those of native code
// on Connector.Pool too.
func (c *Connector) watchErrors(config *pgconn.Config) {
	next := config.OnPgError
	config.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		if ph, ok := conn.CustomData()[customDataKey].(*physical); ok && c.concernsServer(conn, err) {
			c.endGeneration(ph.generation, err.Code)
		}
		return next == nil || next(conn, err)
	}
}

// concernsServer tells an error that all connections will meet from one of this connection.
func (c *Connector) concernsServer(conn *pgconn.PgConn, err *pgconn.PgError) bool {
	switch {
	case err.Code == readOnlyTransaction:
		return c.wantsPrimary && c.isReadOnly(conn)
	case severityOf(err) != "FATAL": // 08P01 is an ERROR too: a number of arguments that is not the statement's
		return false
	}
	return err.Code == "57P01" || err.Code == "57P02" || err.Code == "57P03" || strings.HasPrefix(err.Code, "08")
}

// severityOf returns the severity untranslated, where the server tells it (9.6 and later).
func severityOf(err *pgconn.PgError) string {
	if err.SeverityUnlocalized != "" {
		return err.SeverityUnlocalized
	}
	return err.Severity
}

// readOnlyTransaction is the SQLSTATE of a write where none is allowed (PreventCommandIfReadOnly, utility.c).
const readOnlyTransaction = "25006"

// isReadOnly tells whether it was the server that did not allow a write: within a transaction it may have been the
// application, which began it as READ ONLY. Servers since 14 report what the two parameters are. A primary that takes
// no writes by default is still one, and the next connection to it would be no other.
func (c *Connector) isReadOnly(conn *pgconn.PgConn) bool {
	switch {
	case conn.ParameterStatus("in_hot_standby") == "on":
		return true
	case conn.ParameterStatus("default_transaction_read_only") == "on":
		return c.wantsWrites
	}
	return conn.TxStatus() == 'I'
}

// wanted tells what target_session_attrs asks for: a primary, or one that takes writes by default, too. pgx has made a
// function of it (pgconn.ParseConfigWithOptions).
func wanted(config *pgconn.Config) (primary, writes bool) {
	if config.ValidateConnect == nil {
		return false, false
	}
	given := reflect.ValueOf(config.ValidateConnect).Pointer()
	writes = given == reflect.ValueOf(pgconn.ValidateConnectTargetSessionAttrsReadWrite).Pointer()
	return writes || given == reflect.ValueOf(pgconn.ValidateConnectTargetSessionAttrsPrimary).Pointer(), writes
}

// endGeneration ends the generation of the connection that met the error. Of all that meet it only the first does
// anything, and a connection made since is left alone.
func (c *Connector) endGeneration(of uint64, code string) {
	if !c.generation.CompareAndSwap(of, of+1) {
		return
	}
	c.logger.Warn("pgsafe: the server ends its sessions or is no primary any more; all connections are renewed",
		"pool", c, "sqlstate", code)
	c.recovered(recoveredGeneration)
	if pool := c.pool.Load(); pool != nil {
		pool.Reset()
		c.lot.evict()
		c.refill()
	}
}

// census counts the connections that are made and not being closed, and those of the newest generation among them. The
// pool's own count has others in it, until they come back and are closed.
type census struct {
	mu         sync.Mutex
	generation uint64
	all, n     int // n of the newest generation
}

func (s *census) add(generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation > s.generation {
		s.generation, s.n = generation, 0
	}
	s.all++
	if generation == s.generation {
		s.n++
	}
}

func (s *census) remove(generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if generation == s.generation {
		s.n--
	}
}

// of returns how many there are of a generation, and of all.
func (s *census) of(generation uint64) (n, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation != s.generation {
		return 0, s.all
	}
	return s.n, s.all
}

// standing is how many connections the pool has that can stay, or is making. The census has a connection before the pool
// takes it for made, which it does when the application's function (WithAfterConnect) has returned: it must not count twice.
func (c *Connector) standing(s *pgxpool.Stat) int {
	n, all := c.census.of(c.generation.Load())
	return n + max(0, min(int(s.ConstructingConns()), int(s.TotalConns())-all))
}

// refillPace spreads the connections of a refill over as many times this long, so that a server that has just come up
// does not get those of a whole fleet at once.
const refillPace = 10 * time.Millisecond

// refillPause is a time to wait for the place of one connection in a refill.
func (c *Connector) refillPause() time.Duration {
	floor := time.Duration(c.profile.MinIdleConns)
	return rand.N(max(1, floor*refillPace))
}

// refill opens connections in the background until the pool's floor is reached. pgxpool would do so at its next health
// check, and does it too. While the server is away one caller knocks, and the others come when it was let in.
func (c *Connector) refill() {
	floor := int(c.profile.MinIdleConns)
	if floor == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.refilling {
		return
	}
	c.refilling = true
	c.work.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, warmUpTimeout)
		defer cancel()
		err := c.knock(ctx)
		if err == nil {
			err = c.fill(ctx, floor, c.refillPause)
		}
		if err != nil && c.ctx.Err() == nil {
			c.logger.Warn("pgsafe: the pool is below its floor", "pool", c, "error", err)
		}
		c.mu.Lock()
		c.refilling = false
		c.mu.Unlock()
	})
}

// knock returns when a connection can be had, or will not be until ctx ends.
func (c *Connector) knock(ctx context.Context) error {
	for {
		conn, err := c.acquireForNobody(ctx, c.pool.Load())
		if err == nil {
			conn.Release()
			return nil
		}
		if !c.passes(err) || !c.pause(ctx, lastPause) {
			return c.connectError(err)
		}
	}
}

// stagger keeps the connections apart that pgxpool makes by itself to keep the floor: all at once, after each connection
// that broke (Pool.triggerHealthCheck), and the first that fails ends the others (Pool.createIdleResources). Those of
// the very first time come at once, and where the Connector closes meanwhile none comes: the pool does not end ctx then.
func (c *Connector) stagger(ctx context.Context) error {
	if callerOf(ctx) != nil || !c.connected.Load() || c.pause(ctx, c.refillPause()) {
		return nil
	}
	return cmp.Or(ctx.Err(), ErrClosed)
}
