package libpq

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// resolver is pgx's way from a host to its addresses, where hostaddr may have been there first. pgx
// asks it by name only. So of a name that stands next to an address, it gives all servers at once,
// with their ports.
type resolver struct {
	servers []server
	dns     pgconn.LookupFunc
}

func (r *resolver) lookup(ctx context.Context, host string) ([]string, error) {
	if !addressed(r.servers, host) {
		return r.dns(ctx, host)
	}
	var found []string
	for _, s := range r.servers {
		if s.host != host {
			continue
		}
		addrs := []string{s.addr}
		if s.addr == "" {
			var err error
			if addrs, err = r.dns(ctx, host); err != nil {
				return nil, err
			}
		}
		for _, addr := range addrs {
			found = append(found, net.JoinHostPort(addr, strconv.Itoa(int(s.port))))
		}
	}
	return found, nil
}

// shuffled makes lookup give the addresses of a name in random order, as load_balance_hosts=random
// does (PQconnectPoll, fe-connect.c).
func shuffled(lookup pgconn.LookupFunc) pgconn.LookupFunc {
	return func(ctx context.Context, host string) ([]string, error) {
		addrs, err := lookup(ctx, host)
		addrs = slices.Clone(addrs)
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		return addrs, err
	}
}
