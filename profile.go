package pgsafe

import (
	"cmp"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// Profile holds the numbers of a physical pool. The zero Profile is database/sql's behaviour: no cap, nothing kept
// open but what is in use or was just used.
//
// In a connection string each number has pgxpool's own key, given below, and pool_profile names a whole profile
// that further keys adjust.
type Profile struct {
	// MaxConns is the hard cap on physical connections. Zero means none. Key: pool_max_conns.
	MaxConns int32

	// MinIdleConns is how many connections stay open when nobody uses them: closing for idleness stops there and
	// lost ones are replaced in the background. One that database/sql holds idle counts as idle. Zero keeps none.
	// Keys: pool_min_conns and pool_min_idle_conns, of which the greater counts.
	MinIdleConns int32

	// MaxConnLifetime is the age at which a connection is replaced once it is not in use. Zero means one hour.
	// Key: pool_max_conn_lifetime.
	MaxConnLifetime time.Duration

	// MaxConnLifetimeJitter is the upper bound of a random time added to MaxConnLifetime for each connection, so
	// that they do not all close at once. Zero adds none. Key: pool_max_conn_lifetime_jitter.
	MaxConnLifetimeJitter time.Duration

	// MaxConnIdleTime is how long a connection above MinIdleConns may stay unused in the pool before it is closed.
	// Zero means 30 s. Key: pool_max_conn_idle_time.
	MaxConnIdleTime time.Duration

	// AcquireTimeout bounds the wait for a connection, apart from the deadline of the caller's context. Zero
	// means no bound of its own. Key: pool_acquire_timeout.
	AcquireTimeout time.Duration

	// HealthCheckPeriod is the time between two looks at idle connections. Zero means 10 s.
	// Key: pool_health_check_period.
	HealthCheckPeriod time.Duration

	// PingTimeout bounds the ping of a connection that was idle for more than a second before it is handed out.
	// Zero means no bound of its own. Key: pool_ping_timeout.
	PingTimeout time.Duration

	// WarmUp is how many connections are opened in the background at the first use. Zero opens none ahead.
	// Key: pool_warmup.
	WarmUp int32
}

// The defaults of a zero Profile. 30 s of idleness keep a fleet of services from holding more connections than it
// did on database/sql's own pool.
const (
	defaultMaxConnLifetime   = time.Hour
	defaultMaxConnIdleTime   = 30 * time.Second
	defaultHealthCheckPeriod = 10 * time.Second
)

// Development is for one developer's machine: 5 connections kept, 10 more when needed.
func Development() Profile {
	return Profile{
		MaxConns:        15,
		MinIdleConns:    5,
		MaxConnIdleTime: 5 * time.Minute,
		AcquireTimeout:  30 * time.Second,
	}
}

// Production is for a service under load: 20 connections kept and opened at the first use, 30 more when needed.
func Production() Profile {
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

// Auth is for a small service that must answer soon or not at all: 2 connections kept, 5 more when needed, and two
// seconds to get one.
func Auth() Profile {
	return Profile{
		MaxConns:              7,
		MinIdleConns:          2,
		MaxConnLifetime:       30 * time.Minute,
		MaxConnLifetimeJitter: 5 * time.Minute,
		MaxConnIdleTime:       5 * time.Minute,
		AcquireTimeout:        2 * time.Second,
		PingTimeout:           time.Second,
	}
}

// ParseProfile returns the profile called name: "development", "production" or "auth". The empty name is the zero
// Profile. Any other is a *DSNError.
func ParseProfile(name string) (Profile, error) {
	switch name {
	case "":
		return Profile{}, nil
	case "development":
		return Development(), nil
	case "production":
		return Production(), nil
	case "auth":
		return Auth(), nil
	}
	return Profile{}, poolError("pool_profile", "no profile has this name", "use development, production or auth")
}

// envProfile names a profile for connection strings that ask for none.
const envProfile = "PGSAFE_PROFILE"

// profileOf finds the profile that the pool keys of a connection string and the environment ask for.
func profileOf(keys []urlfix.Param) (Profile, error) {
	name, part := os.Getenv(envProfile), envProfile
	for _, k := range keys {
		if k.Key == "pool_profile" {
			name, part = k.Value, k.Key
		}
	}
	p, err := ParseProfile(name)
	if err != nil {
		return p, poolError(part, "no profile has this name", "use development, production or auth")
	}
	given := make(map[string]bool, len(keys))
	for _, k := range keys {
		given[k.Key] = true
	}
	if given["pool_min_conns"] || given["pool_min_idle_conns"] {
		p.MinIdleConns = 0 // what is given counts, not what the profile says
	}
	for _, k := range keys {
		if err := p.set(k.Key, k.Value); err != nil {
			return p, err
		}
	}
	if given["pool_max_conns"] {
		p.shrink(given)
	}
	return p, p.validate()
}

// shrink fits what a named profile says into a cap that was given beside it.
func (p *Profile) shrink(given map[string]bool) {
	if !given["pool_min_conns"] && !given["pool_min_idle_conns"] {
		p.MinIdleConns = min(p.MinIdleConns, p.MaxConns)
	}
	if !given["pool_warmup"] {
		p.WarmUp = min(p.WarmUp, p.MaxConns)
	}
}

// set adjusts the number that key names.
func (p *Profile) set(key, value string) error {
	var err error
	switch key {
	case "pool_profile":
	case "pool_max_conns":
		p.MaxConns, err = count(key, value, 1)
	case "pool_min_conns", "pool_min_idle_conns":
		var n int32
		n, err = count(key, value, 0)
		p.MinIdleConns = max(p.MinIdleConns, n)
	case "pool_warmup":
		p.WarmUp, err = count(key, value, 0)
	case "pool_max_conn_lifetime":
		p.MaxConnLifetime, err = duration(key, value)
	case "pool_max_conn_lifetime_jitter":
		p.MaxConnLifetimeJitter, err = duration(key, value)
	case "pool_max_conn_idle_time":
		p.MaxConnIdleTime, err = duration(key, value)
	case "pool_acquire_timeout":
		p.AcquireTimeout, err = duration(key, value)
	case "pool_health_check_period":
		p.HealthCheckPeriod, err = duration(key, value)
	case "pool_ping_timeout":
		p.PingTimeout, err = duration(key, value)
	default:
		err = poolError("", "a pool setting is not known", "")
	}
	return err
}

func count(key, value string, least int64) (int32, error) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < least {
		return 0, poolError(key, "not a whole number of at least "+strconv.FormatInt(least, 10),
			"write "+key+"=20, say, or leave it out")
	}
	return int32(n), nil
}

func duration(key, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, poolError(key, "not a duration of zero or more with a unit", "write "+key+"=30s, say, or 5m")
	}
	return d, nil
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
		p.HealthCheckPeriod < 0, p.PingTimeout < 0:
		return poolError("pool", "a duration is below zero", "use zero for the default")
	case p.MinIdleConns > limit:
		return poolError("pool_min_idle_conns", "more connections are to be kept than the pool may hold",
			"make pool_min_idle_conns at most pool_max_conns")
	case p.WarmUp > limit:
		return poolError("pool_warmup", "more connections are to be opened ahead than the pool may hold",
			"make pool_warmup at most pool_max_conns")
	}
	return nil
}

func poolError(part, reason, hint string) error {
	return &DSNError{Code: CodeValue, Part: part, Reason: reason, Hint: hint, Pos: -1}
}
