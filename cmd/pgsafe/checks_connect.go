package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
)

// checkString asks whether the application's own sql.Open takes the string.
func checkString(_ context.Context, p *patient) Result {
	report, err := pgsafe.Inspect(p.dsn)
	if err != nil {
		return describeDSNError(err)
	}
	db, err := sql.Open(pgsafe.DriverName, p.dsn)
	if err != nil {
		return describeDSNError(err)
	}
	if err := db.Close(); err != nil {
		return failed("%v", err)
	}
	p.report = report
	r := ok("%s, understood as it is", report.Dialect)
	if len(report.Changes) > 0 {
		r.Detail = report.Dialect + ", understood after a change"
	}
	for _, n := range report.Changes {
		r.Notes = append(r.Notes, "changed: "+n.Part+": "+n.Text)
	}
	for _, n := range report.Warnings {
		r.Status = StatusWarning
		r.Notes = append(r.Notes, "warning: "+n.Part+": "+n.Text)
	}
	return r
}

func describeDSNError(err error) Result {
	e := newDSNError(err)
	return failed("%s (%s)", e.text(), e.Code)
}

// checkServer makes the first connection.
func checkServer(ctx context.Context, p *patient) Result {
	var o observation
	db, _, err := p.open(&o)
	if err != nil {
		return failed("%v", err)
	}
	defer db.Close()
	var (
		version, user, database string
		standby                 bool
	)
	err = db.QueryRowContext(ctx,
		"SELECT current_setting('server_version'), current_user, current_database(), pg_is_in_recovery()",
	).Scan(&version, &user, &database, &standby)
	if err != nil {
		return describe(err)
	}
	p.seen = &o
	r := ok("PostgreSQL %s at %s, user %s, database %s", version, o.remote, user, database)
	if standby {
		r.Notes = append(r.Notes, "it is a standby: it takes no writes")
	}
	return r
}

// describe explains a failure in pgsafe's words, which hold no secret.
func describe(err error) Result {
	what := "kind " + pgsafe.KindOf(err).String()
	if state := pgsafe.SQLState(err); state != "" {
		what += ", SQLSTATE " + state
	}
	r := failed("%s (%s)", strings.TrimPrefix(err.Error(), "pgsafe: "), what)
	if h := remedy(err); h != "" {
		r.Notes = append(r.Notes, h)
	}
	return r
}

// remedy is what mostly helps, or "".
func remedy(err error) string {
	state := pgsafe.SQLState(err)
	switch pgsafe.KindOf(err) {
	case pgsafe.KindAuth:
		if state == "28P01" {
			return "the user or the password is wrong (the server does not tell which)"
		}
		return "the server does not let this user in from here: see its pg_hba.conf"
	case pgsafe.KindConfig:
		if state == "3D000" {
			return "the server has no such database"
		}
		return "the certificate does not fit: see sslmode and sslrootcert"
	case pgsafe.KindTimeout:
		return "nobody answered in time: a firewall in between, or the wrong address"
	case pgsafe.KindUnavailable:
		if strings.HasPrefix(state, "53") {
			return "the server has no room for another connection"
		}
		return "nobody listens there: is the server running, are host and port right?"
	}
	return ""
}

// checkTLS compares what the string asked for with what the connection has, seen from both of its
// ends.
func checkTLS(ctx context.Context, p *patient) Result {
	asked := sslmode(p.report)
	state := p.seen.tls()
	if state == nil {
		return withoutTLS(p.seen.remote, asked)
	}
	r := ok("%s, %s; sslmode=%s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), asked)
	switch {
	case asked == "verify-full":
		r.Notes = append(r.Notes, "the server's certificate and its name are verified")
	case asked == "verify-ca" || asked == "require" && hasParam(p.report, "sslrootcert"):
		r.Notes = append(r.Notes, "the server's certificate is verified, its name is not: sslmode=verify-full does")
	default:
		r.Notes = append(r.Notes, "the server's certificate is not verified: sslmode=verify-full does that")
		if p.seen.remote.Network() != "unix" && !isLoopback(p.seen.remote) {
			r.Status = StatusWarning
		}
	}
	if asked == "prefer" || asked == "allow" {
		r.Notes = append(r.Notes, "a server without TLS would be accepted as well: sslmode=require is the least that is not")
	}
	return withServersView(ctx, p, state, r)
}

// withServersView adds what pg_stat_ssl says, which differs if something between us and the server
// ends the TLS.
func withServersView(ctx context.Context, p *patient, state *tls.ConnectionState, r Result) Result {
	db, _, err := p.open(nil)
	if err != nil {
		return failed("%v", err)
	}
	defer db.Close()
	var (
		on              bool
		version, cipher sql.NullString
	)
	err = db.QueryRowContext(ctx,
		"SELECT ssl, version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&on, &version, &cipher)
	switch {
	case err != nil && ctx.Err() != nil:
		return describe(err)
	case err != nil:
		r.Notes = append(r.Notes, "the server's own view (pg_stat_ssl) cannot be had here")
	case !on:
		r.Status = StatusWarning
		r.Notes = append(r.Notes, "the server sees no TLS: something in between ends it, a pooler perhaps")
	default:
		r.Notes = append(r.Notes, fmt.Sprintf("the server says the same: %s, %s", version.String, cipher.String))
		if name := strings.ReplaceAll(tls.VersionName(state.Version), " ", "v"); name != version.String {
			r.Notes[len(r.Notes)-1] = fmt.Sprintf("the server sees %s, %s: something is in between",
				version.String, cipher.String)
		}
	}
	return r
}

func withoutTLS(remote net.Addr, asked string) Result {
	switch {
	case remote.Network() == "unix":
		return ok("none, and none is needed: a unix socket")
	case isLoopback(remote):
		return ok("none; the server is on this machine; sslmode=%s", asked)
	}
	return warning("none, and the server is another machine: whoever is in between can read along; sslmode=%s; "+
		"verify-full is what protects", asked)
}

func isLoopback(addr net.Addr) bool {
	tcp, isTCP := addr.(*net.TCPAddr)
	return isTCP && tcp.IP.IsLoopback()
}

// sslmode is the mode that the string or the environment asks for.
func sslmode(r *pgsafe.Report) string {
	for _, p := range r.Params {
		if p.Key == "sslmode" {
			return p.Value
		}
	}
	if mode := os.Getenv("PGSSLMODE"); mode != "" {
		return mode
	}
	return "prefer"
}

func hasParam(r *pgsafe.Report, key string) bool {
	for _, p := range r.Params {
		if p.Key == key {
			return true
		}
	}
	return false
}

// checkAuthentication reports how the server authenticated the client. The check of the server has
// noted the server's requests when it connected, because the server's tables about authentication
// are for superusers.
func checkAuthentication(_ context.Context, p *patient) Result {
	a := p.seen.auth
	switch {
	case a.asked(authSASL):
		return ok("SASL, the server offers %s: the password never leaves this machine", strings.Join(a.mechanisms, ", "))
	case a.asked(authMD5):
		return warning("MD5, which PostgreSQL gives up: set password_encryption = 'scram-sha-256' and the password anew")
	case a.asked(authCleartext) && p.seen.tls() == nil && !isLocal(p.seen.remote):
		return warning("the server asked for the password itself, and it went over the network in the clear")
	case a.asked(authCleartext):
		return ok("the server asked for the password itself (password, ldap, pam or radius in pg_hba.conf)")
	case a.asked(authGSS), a.asked(authSSPI):
		return ok("Kerberos (GSSAPI or SSPI)")
	case !a.asked(authOK):
		return skipped("the server's requests could not be read")
	case isLocal(p.seen.remote), hasParam(p.report, "sslcert"):
		return ok("the server asked for no password (trust, peer, ident or a client certificate)")
	}
	return warning("the server asked for no password, and it is another machine: is that trust in its pg_hba.conf?")
}

func isLocal(addr net.Addr) bool { return addr.Network() == "unix" || isLoopback(addr) }

// pidOf is the server's process behind a connection.
func pidOf(conn *sql.Conn) (pid uint32, err error) {
	err = pgsafe.Raw(conn, func(c *pgx.Conn) error {
		pid = c.PgConn().PID()
		return nil
	})
	return pid, err
}
