package pgsafe

import (
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// kindOfServerError tells the kind of an error that the server, or a pooler in front of it, has sent. All that PgBouncer
// says for itself has the code of a protocol violation (disconnect_client, src/objects.c), later versions
// give a wrong password its own; so what is meant is in its words.
func kindOfServerError(err *pgconn.PgError) Kind {
	switch {
	case err.Code != poolerCode:
	case strings.HasSuffix(err.Message, "authentication failed"), // SASL, password, certificate, ... (src/client.c)
		strings.HasSuffix(err.Message, "login rejected"), err.Message == "no such user":
		return KindAuth
	case refusedParameter(err), strings.HasPrefix(err.Message, "no such database"), err.Message == "SSL required":
		return KindConfig
	}
	return kindOfState(err.Code)
}

// poolerCode is what PgBouncer uses for everything. As an error of a PostgreSQL server's own it means that the driver, or
// the number of arguments, is wrong.
const poolerCode = "08P01"

// poolerAsksToWait recognises that PgBouncer is full, or has found the server behind it down and tries again
// (decide_startup_pool, src/client.c; check_fast_fail, src/objects.c).
func poolerAsksToWait(err *pgconn.PgError) bool {
	return err.Code == poolerCode && (strings.HasPrefix(err.Message, "no more connections allowed") ||
		strings.HasPrefix(err.Message, "server login has been failing, "))
}

// refusedParameter recognises a server setting that the pooler does not pass on.
func refusedParameter(err *pgconn.PgError) bool {
	return err.Code == poolerCode && strings.HasPrefix(err.Message, "unsupported startup parameter")
}

// hintParameter is what to do about it. A SET after connecting is no way out: it would reach whichever server
// connection comes first, and then all who share that.
const hintParameter = "PgBouncer does not pass this setting on: take it out of the connection string and give it to the " +
	"role (ALTER ROLE ... SET ...), or name it in PgBouncer's ignore_startup_parameters, which drops it"
