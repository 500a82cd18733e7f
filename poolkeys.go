package pgsafe

import (
	"strconv"
	"time"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// envProfile names a profile for connection strings that ask for none.
const envProfile = "PGSAFE_PROFILE"

// profileOf finds the profile that the pool keys of a connection string ask for, or env, the value of PGSAFE_PROFILE.
func profileOf(keys []urlfix.Param, env string) (Profile, error) {
	name, part := env, envProfile
	for _, k := range keys {
		if k.Key == "pool_profile" {
			name, part = k.Value, k.Key
		}
	}
	p, err := profileNamed(name)
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
	case "pool_ping_after":
		p.PingAfter, err = duration(key, value)
	case "pool_ping_timeout":
		p.PingTimeout, err = duration(key, value)
	case "pool_reset":
		switch value {
		case "leftovers":
			p.Reset = ResetLeftovers
		case "always":
			p.Reset = ResetAlways
		default:
			err = poolError(key, "not one of leftovers and always", "use pool_reset=always, or leave it out")
		}
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

func poolError(part, reason, hint string) error {
	return &DSNError{Code: CodeValue, Part: part, Reason: reason, Hint: hint, Pos: -1}
}
