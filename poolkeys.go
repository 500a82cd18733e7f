package pgsafe

import (
	"github.com/pgsafe/pgsafe/internal/driverkeys"
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
			return p, dsnError(err)
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
		p.MaxConns, err = driverkeys.Count(key, value, 1)
	case "pool_min_conns", "pool_min_idle_conns":
		var n int32
		n, err = driverkeys.Count(key, value, 0)
		p.MinIdleConns = max(p.MinIdleConns, n)
	case "pool_warmup":
		p.WarmUp, err = driverkeys.Count(key, value, 0)
	case "pool_max_conn_lifetime":
		p.MaxConnLifetime, err = driverkeys.Duration(key, value)
	case "pool_max_conn_lifetime_jitter":
		p.MaxConnLifetimeJitter, err = driverkeys.Duration(key, value)
	case "pool_max_conn_idle_time":
		p.MaxConnIdleTime, err = driverkeys.Duration(key, value)
	case "pool_acquire_timeout":
		p.AcquireTimeout, err = driverkeys.Duration(key, value)
	case "pool_health_check_period":
		p.HealthCheckPeriod, err = driverkeys.Duration(key, value)
	case "pool_ping_after":
		p.PingAfter, err = driverkeys.Duration(key, value)
	case "pool_ping_timeout":
		p.PingTimeout, err = driverkeys.Duration(key, value)
	case "pool_reset":
		switch value {
		case "leftovers":
			p.Reset = ResetLeftovers
		case "always":
			p.Reset = ResetAlways
		case "close":
			p.Reset = ResetClose
		default:
			err = poolError(key, "not one of leftovers, always and close", "use pool_reset=always, or leave it out")
		}
	default:
		err = poolError("", "a pool setting is not known", "")
	}
	return err
}

func poolError(part, reason, hint string) error { return refuse(CodeValue, part, reason, hint) }

// refuse returns an error about a key that is not tied to a position.
func refuse(code DSNCode, part, reason, hint string) error {
	return &DSNError{Code: code, Part: part, Reason: reason, Hint: hint, Pos: -1}
}

// checkKeys refuses what sql.Open would refuse about the keys that are no part of the canonical URI.
func checkKeys(pool, driver []urlfix.Param) error {
	if _, err := profileOf(pool, ""); err != nil {
		return err
	}
	if _, err := driverkeys.Read(driver); err != nil {
		return dsnError(err)
	}
	return nil
}
