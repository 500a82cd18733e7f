package pgsafe

import (
	"cmp"
	"math"
	"time"
)

// Profile holds the numbers of a pool of server connections. The zero Profile is database/sql's
// behaviour: no cap, and nothing kept open but what is in use or was used a moment ago.
//
// In a connection string each number has pgxpool's own key, given below, and pool_profile names a
// whole profile that further keys adjust.
type Profile struct {
	// MaxConns is the hard cap on connections. Zero means none. Key: pool_max_conns.
	MaxConns int32

	// MinIdleConns is how many connections stay open when none is in use: closing for idleness
	// stops there, and lost ones are replaced in the background. It counts from the first use on.
	// Zero keeps none. Keys: pool_min_conns and pool_min_idle_conns, of which the greater counts.
	MinIdleConns int32

	// MaxConnLifetime is the age at which a connection is replaced once it is not in use. Zero
	// means one hour. Key: pool_max_conn_lifetime.
	MaxConnLifetime time.Duration

	// MaxConnLifetimeJitter is the upper bound of a random time added to MaxConnLifetime for each
	// connection, so that they do not all close at once. Zero adds none. Key:
	// pool_max_conn_lifetime_jitter.
	MaxConnLifetimeJitter time.Duration

	// MaxConnIdleTime is how long a connection above MinIdleConns may stay unused in the pool
	// before it is closed. Zero means 30 s. Key: pool_max_conn_idle_time.
	MaxConnIdleTime time.Duration

	// AcquireTimeout bounds the wait for a connection, apart from the deadline of the caller's
	// context. Zero means no bound of its own. Key: pool_acquire_timeout.
	AcquireTimeout time.Duration

	// HealthCheckPeriod is the time between two looks at idle connections. Zero means 10 s.
	// Key: pool_health_check_period.
	HealthCheckPeriod time.Duration

	// PingAfter is how long a connection may have been idle before it is pinged when it is next
	// handed out. A connection that the server has closed is noticed without a ping, on systems
	// that let a socket be looked at. On others the bound is one second. Zero means 30 s. Key:
	// pool_ping_after.
	PingAfter time.Duration

	// PingTimeout bounds the ping of a connection before it is handed out: one that was idle for
	// longer than PingAfter, to which the server has sent something unasked, or since whose last
	// use another one was lost. Half of the caller's time bounds it too. A connection that does not
	// answer is closed, and another one is taken. Zero means 5 s. Key: pool_ping_timeout.
	PingTimeout time.Duration

	// WarmUp is how many connections are opened in the background at the first use. Zero opens none
	// ahead. Key: pool_warmup.
	WarmUp int32

	// Reset says when a connection is reset before its next user gets it. Zero means when its
	// statements have left something in the session. Key: pool_reset.
	Reset SessionReset
}

// SessionReset says when session state that statements leave behind is undone: settings, roles,
// LISTEN, temporary tables, advisory locks of the session, cursors WITH HOLD, statements of
// PREPARE, the seed of random(). After DO, CALL, EXECUTE and native code on the *pgx.Conn, whose
// effects no text shows, all of these are undone, with what lastval() returns.
//
// A reset takes one round trip, in the background. Statements that the driver has prepared stay.
// What the connection string and the application's functions for new connections (WithAfterConnect,
// pgconn's AfterConnect) have set stays too. Where such a function leaves other session state, a
// connection closes where a reset would undo that.
type SessionReset uint8

const (
	// ResetLeftovers resets a connection after statements whose text shows lasting effects. It
	// cannot see the effects of a function that a query calls, or of a trigger. What only the end
	// of the connection undoes stays: LOAD, dblink_connect.
	ResetLeftovers SessionReset = iota
	// ResetAlways resets a connection after each use, whatever ran. Key: pool_reset=always.
	ResetAlways
	// ResetClose closes a connection where ResetLeftovers would reset it, so that nothing of its
	// session reaches the next user. Key: pool_reset=close.
	ResetClose
)

// The defaults of a zero Profile. 30 s of idleness keep a fleet of services from holding more
// connections than it did on database/sql's own pool.
const (
	defaultMaxConnLifetime   = time.Hour
	defaultMaxConnIdleTime   = 30 * time.Second
	defaultHealthCheckPeriod = 10 * time.Second
	defaultPingAfter         = 30 * time.Second
	defaultPingTimeout       = 5 * time.Second
)

func (p Profile) maxConnLifetime() time.Duration {
	return cmp.Or(p.MaxConnLifetime, defaultMaxConnLifetime)
}
func (p Profile) maxConnIdleTime() time.Duration {
	return cmp.Or(p.MaxConnIdleTime, defaultMaxConnIdleTime)
}
func (p Profile) healthCheckPeriod() time.Duration {
	return cmp.Or(p.HealthCheckPeriod, defaultHealthCheckPeriod)
}
func (p Profile) pingAfter() time.Duration   { return cmp.Or(p.PingAfter, defaultPingAfter) }
func (p Profile) pingTimeout() time.Duration { return cmp.Or(p.PingTimeout, defaultPingTimeout) }

// DevelopmentProfile is for one developer's machine: 5 connections kept, 10 more when needed.
func DevelopmentProfile() Profile {
	return Profile{
		MaxConns:        15,
		MinIdleConns:    5,
		MaxConnIdleTime: 5 * time.Minute,
		AcquireTimeout:  30 * time.Second,
	}
}

// ProductionProfile is for a service under load: 20 connections kept and opened at the first use,
// 30 more when needed.
func ProductionProfile() Profile {
	return Profile{
		MaxConns:              50,
		MinIdleConns:          20,
		MaxConnLifetime:       30 * time.Minute,
		MaxConnLifetimeJitter: 5 * time.Minute,
		MaxConnIdleTime:       5 * time.Minute,
		AcquireTimeout:        5 * time.Second,
		PingTimeout:           2 * time.Second,
		WarmUp:                20,
	}
}

// AuthProfile is for a small service that must answer soon or not at all: 2 connections kept, 5
// more when needed, and two seconds to get one. A connection is reset after each use, whatever ran.
func AuthProfile() Profile {
	return Profile{
		MaxConns:              7,
		MinIdleConns:          2,
		MaxConnLifetime:       30 * time.Minute,
		MaxConnLifetimeJitter: 5 * time.Minute,
		MaxConnIdleTime:       5 * time.Minute,
		AcquireTimeout:        2 * time.Second,
		PingTimeout:           time.Second,
		Reset:                 ResetAlways,
	}
}

// profileNamed returns the profile called name: "development", "production" or "auth". The empty
// name is the zero Profile. Any other is a *DSNError.
func profileNamed(name string) (Profile, error) {
	switch name {
	case "":
		return Profile{}, nil
	case "development":
		return DevelopmentProfile(), nil
	case "production":
		return ProductionProfile(), nil
	case "auth":
		return AuthProfile(), nil
	}
	return Profile{}, poolError("pool_profile", "no profile has this name", "use development, production or auth")
}

// validate refuses numbers that contradict each other.
func (p Profile) validate() error {
	limit := cmp.Or(p.MaxConns, math.MaxInt32)
	switch {
	case p.MaxConns < 0:
		return poolError("pool_max_conns", "MaxConns is below zero", "use zero for no cap")
	case p.MinIdleConns < 0 || p.WarmUp < 0:
		return poolError("pool_min_idle_conns", "MinIdleConns or WarmUp is below zero", "use zero for none")
	case p.MaxConnLifetime < 0, p.MaxConnLifetimeJitter < 0, p.MaxConnIdleTime < 0, p.AcquireTimeout < 0,
		p.HealthCheckPeriod < 0, p.PingAfter < 0, p.PingTimeout < 0:
		return poolError("pool", "a duration is below zero", "use zero for the default")
	case p.MinIdleConns > limit:
		return poolError("pool_min_idle_conns", "more connections are to be kept than the pool may hold",
			"make pool_min_idle_conns at most pool_max_conns")
	case p.Reset > ResetClose:
		return poolError("pool_reset", "Reset is none of the constants", "use ResetLeftovers, ResetAlways or ResetClose")
	case p.WarmUp > limit:
		return poolError("pool_warmup", "more connections are to be opened ahead than the pool may hold",
			"make pool_warmup at most pool_max_conns")
	}
	return nil
}
