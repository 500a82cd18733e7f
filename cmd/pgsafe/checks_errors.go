package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgsafe/pgsafe"
)

// checkWrongPassword connects with a password that is surely wrong.
func checkWrongPassword(ctx context.Context, p *patient) Result {
	if !p.seen.auth.askedForPassword() {
		return skipped("cannot run here: the server asks for no password")
	}
	wrong := randomName()
	err := p.attempt(ctx, func(c *pgx.ConnConfig) { c.Password = wrong })
	if err == nil {
		return failed("the server took a wrong password")
	}
	return p.judge(err, pgsafe.KindAuth, "28P01", wrong)
}

// checkUnknownDatabase asks for a database that surely is not there.
func checkUnknownDatabase(ctx context.Context, p *patient) Result {
	err := p.attempt(ctx, func(c *pgx.ConnConfig) { c.Database = tableName() })
	switch {
	case err == nil:
		return skipped("cannot run here: any database name is let in, by a pooler perhaps")
	case pgsafe.KindOf(err) == pgsafe.KindAuth:
		return skipped("cannot run here: the server's pg_hba.conf lets nobody in before it looks at the name")
	}
	return p.judge(err, pgsafe.KindConfig, "3D000", p.base().Password)
}

// checkClosedPort connects to a port on which no server listens.
func checkClosedPort(ctx context.Context, p *patient) Result {
	port, release, err := closedPort()
	if err != nil {
		return skipped("cannot run here: no closed port could be had on 127.0.0.1")
	}
	defer release()
	err = p.attempt(ctx, func(c *pgx.ConnConfig) {
		c.Host, c.Port, c.Fallbacks = "127.0.0.1", port, nil
		c.LookupFunc = net.DefaultResolver.LookupHost
		c.ConnectTimeout = time.Second // a refusal may be tried again until then
	})
	if err == nil {
		return failed("somebody answered where nobody listens")
	}
	return p.judge(err, pgsafe.KindUnavailable, "", p.base().Password)
}

// attempt connects with a changed configuration.
func (p *patient) attempt(ctx context.Context, change func(*pgx.ConnConfig)) error {
	db, err := p.openChanged(change)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.PingContext(ctx)
}

// numbers are ports and pointers, which may have four digits in a row that the password has too.
var numbers = regexp.MustCompile(`:[0-9]{1,5}\b|0x[0-9a-f]+`)

// errorReveals is reveals for all forms in which an error may be printed.
func errorReveals(err error, secret string, public ...string) bool {
	return reveals(numbers.ReplaceAllString(fmt.Sprintf("%v %+v %#v", err, err, err), " "), secret, public...)
}

// judge checks that an error is of the expected kind and holds no secret.
func (p *patient) judge(err error, kind pgsafe.Kind, state, secret string) Result {
	gotKind, gotState := pgsafe.KindOf(err), pgsafe.SQLState(err)
	what := "kind " + gotKind.String()
	if gotState != "" {
		what += ", SQLSTATE " + gotState
	}
	if gotKind != kind || gotState != state {
		return failed("it should be kind %s%s, and it is %s", kind, orState(state), what)
	}
	if errorReveals(err, secret, p.public(err)...) {
		return failed("the error holds a part of the password")
	}
	return ok("%s; no secret in the error", what)
}

func orState(state string) string {
	if state == "" {
		return ""
	}
	return ", SQLSTATE " + state
}

// words are the words of pgsafe's and pgx's connect errors.
const words = "pgsafe: cannot connect to as user database: server error: failed SASL auth: dial error: dial tcp: " +
	"connect: connection refused"

// public are texts that an error may hold, whatever the password is: names, and the words of
// messages. A password made up by chance has some of them, too: FATAL and SQLSTATE are capitals.
func (p *patient) public(err error) []string {
	base := p.base()
	texts := []string{base.User, base.Host, base.Database, words}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		texts = append(texts, pgErr.Error()) // the server never learnt the password
	}
	return texts
}

// closedPort returns a port of 127.0.0.1 on which no process listens until release is called: the
// near end of a connection occupies it.
func closedPort() (port uint16, release func(), err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	defer l.Close()
	near, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return 0, nil, err
	}
	far, err := l.Accept()
	if err != nil {
		_ = near.Close()
		return 0, nil, err
	}
	_, text, err := net.SplitHostPort(near.LocalAddr().String())
	if err == nil {
		var n uint64
		n, err = strconv.ParseUint(text, 10, 16)
		port = uint16(n)
	}
	return port, func() { _, _ = near.Close(), far.Close() }, err
}
