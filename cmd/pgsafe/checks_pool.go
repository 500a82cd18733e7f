package main

import (
	"context"
	"fmt"

	"github.com/pgsafe/pgsafe"
)

// limits are what bounds the number of connections, and how many there are. A limit of -1 is none.
type limits struct {
	max, reserved, used int // the server's; reserved are out of this role's reach
	roleLimit, roleUsed int
	baseLimit, baseUsed int
	superuser           bool
}

// limitsQuery counts client connections but the doctor's. Of others' everybody is shown that they
// exist, and no more.
const limitsQuery = `
WITH clients AS (
	SELECT usesysid, datid FROM pg_stat_activity
	WHERE application_name IS DISTINCT FROM '` + applicationName + `'
		AND usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
)
SELECT
	current_setting('max_connections')::int,
	current_setting('superuser_reserved_connections')::int +
		coalesce(current_setting('reserved_connections', true), '0')::int,
	(SELECT count(*) FROM clients)::int,
	r.rolconnlimit, (SELECT count(*) FROM clients WHERE usesysid = r.oid)::int,
	d.datconnlimit, (SELECT count(*) FROM clients WHERE datid = d.oid)::int,
	r.rolsuper
FROM pg_roles r, pg_database d
WHERE r.rolname = session_user AND d.datname = current_database()`

// checkPool holds the pool that the string and the environment ask for against what the server has
// room for.
func checkPool(ctx context.Context, p *patient) Result {
	c, err := pgsafe.NewConnector(p.dsn)
	if err != nil {
		return failed("%v", err)
	}
	limit := c.Stats().Max
	if err := c.Close(); err != nil {
		return failed("%v", err)
	}
	db, _, err := p.open(nil)
	if err != nil {
		return failed("%v", err)
	}
	defer db.Close()
	var l limits
	err = db.QueryRowContext(ctx, limitsQuery).Scan(
		&l.max, &l.reserved, &l.used, &l.roleLimit, &l.roleUsed, &l.baseLimit, &l.baseUsed, &l.superuser)
	switch {
	case err != nil && ctx.Err() != nil:
		return describe(err)
	case err != nil:
		return skipped("the server does not tell its limits: SQLSTATE %s", pgsafe.SQLState(err))
	}
	return judgePool(limit, l)
}

// judgePool compares the pool's cap, 0 for none, with the room there is.
func judgePool(limit int, l limits) Result {
	room, bound := l.room()
	var r Result
	switch {
	case room < 1:
		r = warning("there is no room for another connection: %s", bound)
	case limit > room:
		r = warning("the pool may open %d connections, and there is room for %d: %s", limit, room, bound)
	case limit == 0:
		r = ok("the pool has no cap, and there is room for %d connections: %s", room, bound)
		r.Notes = append(r.Notes, "pool_max_conns or pool_profile (development, production, auth) in the string sets a cap")
	default:
		r = ok("the pool opens at most %d connections, and there is room for %d: %s", limit, room, bound)
	}
	if l.roleLimit >= 0 && !l.superuser {
		r.Notes = append(r.Notes, fmt.Sprintf("the role may have %d connections, and has %d", l.roleLimit, l.roleUsed))
	}
	if l.baseLimit >= 0 && !l.superuser {
		r.Notes = append(r.Notes, fmt.Sprintf("the database may have %d connections, and has %d", l.baseLimit, l.baseUsed))
	}
	return r
}

// room is how many more connections this role can have, and what sets the bound.
func (l limits) room() (room int, bound string) {
	room = l.max - l.reserved - l.used
	bound = fmt.Sprintf("max_connections is %d, %d reserved, %d in use", l.max, l.reserved, l.used)
	if l.superuser {
		return room, bound // the other limits are not for superusers
	}
	if left := l.roleLimit - l.roleUsed; l.roleLimit >= 0 && left < room {
		room, bound = left, "the limit is the role's"
	}
	if left := l.baseLimit - l.baseUsed; l.baseLimit >= 0 && left < room {
		room, bound = left, "the limit is the database's"
	}
	return room, bound
}
