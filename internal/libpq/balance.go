package libpq

import (
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// shuffle puts the servers of conn into random order. What belongs to one server, with and without
// TLS, stays together and in its order.
func shuffle(conn *pgx.ConnConfig) {
	groups := groupsOf(conn)
	rand.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	var all []*pgconn.FallbackConfig
	for _, group := range groups {
		all = append(all, group...)
	}
	conn.Host, conn.Port, conn.TLSConfig = all[0].Host, all[0].Port, all[0].TLSConfig
	conn.Fallbacks = all[1:]
}

// groupsOf returns the attempts of conn, those to one server as a group.
func groupsOf(conn *pgx.ConnConfig) [][]*pgconn.FallbackConfig {
	first := &pgconn.FallbackConfig{Host: conn.Host, Port: conn.Port, TLSConfig: conn.TLSConfig}
	groups := [][]*pgconn.FallbackConfig{{first}}
	for _, next := range conn.Fallbacks {
		last := groups[len(groups)-1]
		if last[0].Host == next.Host && last[0].Port == next.Port {
			groups[len(groups)-1] = append(last, next)
		} else {
			groups = append(groups, []*pgconn.FallbackConfig{next})
		}
	}
	return groups
}
