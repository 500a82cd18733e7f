package main

import (
	"context"
	"fmt"

	"github.com/pgsafe/pgsafe/internal/pgserver"
)

// The embedded server is the one of an outage: a driver that took its connection string for
// key=value pairs connected to another server and told it the password.
const (
	embeddedUser     = "lwe-admin"
	embeddedPassword = "y5268[695t-13htgq244t5thj[8q9grq"
	embeddedDatabase = "ai_workflow_engine"
)

// embedded is a PostgreSQL server of our own, and the string that leads to it.
type embedded struct {
	server *pgserver.Server
	dsn    string
}

// startEmbedded starts a server with TLS and SCRAM. close ends it.
func startEmbedded(ctx context.Context, fetch fetchOptions, progress *progress) (*embedded, error) {
	bin, err := fetch.binaries(ctx, progress)
	if err != nil {
		return nil, err
	}
	progress.show("starting PostgreSQL " + bin.Version + " ...")
	server, err := pgserver.Start(ctx, pgserver.Options{
		Binaries: bin,
		Auth:     pgserver.SCRAM,
		User:     embeddedUser,
		Password: embeddedPassword,
		Database: embeddedDatabase,
		TLS:      true,
	})
	if err != nil {
		return nil, err
	}
	return &embedded{server, fmt.Sprintf("postgresql+psycopg2://%s:%s@%s:%d/%s?sslmode=require",
		embeddedUser, embeddedPassword, server.Host(), server.Port(), embeddedDatabase)}, nil
}

// close stops the server and removes its files.
func (e *embedded) close() { _ = e.server.Stop(pgserver.Immediate) }
