// Package pgsafe is a database/sql driver for PostgreSQL, built on pgx. An application that uses
// pgx through database/sql changes one string:
//
//	db, err := sql.Open("pgsafe", os.Getenv("DATABASE_URL")) // was "pgx"
//
// # Connection strings
//
// A connection string of any ecosystem (see Dialect) opens the server that it names, with its
// password percent-encoded or not. Otherwise sql.Open returns a *DSNError that says what to change
// and shows no secret. All keywords of libpq are honoured, or refused by name.
//
// Normalize makes one canonical libpq URI of a string, Inspect reports what it means, Redact makes
// it fit for a log. If the form of a string does not show which tool it was written for, name the
// tool:
//
//	db, err := pgsafe.Open(dsn, pgsafe.WithDialect("prisma"))
//
// # Pool
//
// database/sql holds handles. A handle has a connection to the server only while it is in use: from
// its first statement until database/sql gets it back. A *sql.Conn and a *sql.Tx keep theirs until
// they end. One pool keeps the connections. So it does not matter how many idle connections
// database/sql keeps, and db.Stats counts handles. Connector.Stats counts connections.
//
// By default there is no cap, as with database/sql. A cap and its companions come from a profile, in
// the connection string, in the environment variable PGSAFE_PROFILE, or in code:
//
//	db, err := sql.Open("pgsafe", "postgres://app@db/orders?pool_profile=production&pool_max_conns=30")
//
//	db, err := pgsafe.Open(dsn, pgsafe.WithProfile(pgsafe.ProductionProfile()))
//
// A caller that finds the pool at its cap waits, first come, first served, for at most the
// profile's AcquireTimeout. An *AcquireError names the longest holders. SetMaxOpenConns bounds the
// handles, and so the connections. SetConnMaxLifetime and SetConnMaxIdleTime hold from one second
// on: docs/migration.md says what exactly holds.
//
// # Failures
//
// A statement whose context ends is cancelled on the server, and a transaction is rolled back. The
// connection stays. A statement that the server has certainly not begun runs again on another
// connection. A statement that may have run is never repeated. When the server restarts, or a
// standby takes its place, all connections are renewed. Statements wait for the server within
// connect_timeout and their contexts:
//
//	db, err := sql.Open("pgsafe", "postgres://app@db1,db2/orders?target_session_attrs=read-write")
//
// Files with certificates, keys and passwords are read again when they change. WithPassword asks the
// application for each connection. PgBouncer in transaction mode is recognised. See docs/failure-behaviour.md.
//
// # Sessions
//
// With package session, transactions and settings follow the context through the plain *sql.DB:
//
//	err := session.Tx(ctx, db, nil, func(ctx context.Context) error {
//		_, err := db.ExecContext(ctx, "UPDATE accounts SET ...") // in the transaction, as are mappers on db
//		return err
//	})
//
// Session state that statements leave behind is reset before the next user gets the connection.
//
// # Telemetry
//
// With an OpenTelemetry SDK in the application there are spans of statements, transactions and
// connects, and metrics of the pool: see package telemetry for their names. The span of a statement
// is a child of the span in its context.
//
//	otel.SetTracerProvider(provider)
//	rows, err := db.QueryContext(ctx, "SELECT ...") // a span "SELECT users" below the span in ctx
//
// # pgx underneath
//
// Raw gives access to the pgx connection, and pgx's errors keep their identity:
//
//	err = pgsafe.Raw(conn, func(c *pgx.Conn) error {
//		_, err := c.CopyFrom(ctx, table, columns, rows)
//		return err
//	})
//
//	switch pgsafe.KindOf(err) {
//	case pgsafe.KindUnique: ...
//	}
//
// Code that wants a pgxpool, such as river's pgx driver and sqlc's pgx/v5 code, gets one with the
// same connection string:
//
//	config, err := pgsafe.NewPoolConfig(dsn)
//	pool, err := pgxpool.NewWithConfig(ctx, config)
//
// ConnectorOf finds the Connector behind a *sql.DB: its statistics and its warm-up.
package pgsafe
