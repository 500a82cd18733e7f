// Package pgsafe is a database/sql driver for PostgreSQL, built on pgx. An application that uses pgx through
// database/sql changes one string:
//
//	db, err := sql.Open("pgsafe", os.Getenv("DATABASE_URL")) // was "pgx"
//
// From that alone, a connection string of any ecosystem (see Dialect), with its password written as it is or
// percent-encoded, opens the server it means or is refused by sql.Open with a *DSNError that says what to change
// and shows no secret. And what database/sql closes goes back to one physical pool, pgx's own: its default of two
// idle connections no longer means that all others are opened for one use and closed.
//
// # Connection strings
//
// Normalize makes one canonical libpq URI of a string, Inspect tells what it means, Redact makes it fit for a log. All
// keywords of libpq are honoured, those too that pgx does not know, or refused by name. A string whose form does not
// tell which tool it was written for may name it:
//
//	db, err := pgsafe.Open(dsn, pgsafe.WithDialect("prisma"))
//
// # Pool
//
// By default there is no cap on connections, as with database/sql. A cap and its companions come from a profile,
// in the connection string, in the environment variable PGSAFE_PROFILE, or in code:
//
//	db, err := sql.Open("pgsafe", "postgres://app@db/orders?pool_profile=production&pool_max_conns=30")
//
//	db, err := pgsafe.Open(dsn, pgsafe.WithProfile(pgsafe.ProductionProfile()))
//
// Whoever finds the pool at its cap waits, first come, first served, for at most the profile's AcquireTimeout. What
// the application sets on its *sql.DB (SetMaxOpenConns, SetConnMaxLifetime and so on) keeps its meaning.
//
// # Failures
//
// A statement whose context ends is cancelled on the server, and a transaction is rolled back; the connection stays. A
// statement that the server has certainly not begun is repeated by database/sql on another connection; one that may have
// run never is. When the server restarts, or a standby takes its place, all connections are renewed and statements wait
// for it, within connect_timeout and their contexts:
//
//	db, err := sql.Open("pgsafe", "postgres://app@db1,db2/orders?target_session_attrs=read-write")
//
// Files with certificates, keys and passwords are read anew when they change; WithPassword asks the application for each
// connection. PgBouncer in transaction mode is recognised. docs/failure-behaviour.md lists what happens when.
//
// # Sessions
//
// Package session binds work to a context: one request, one session, transactions that nest. Settings for row-level
// security follow the context on plain *sql.DB calls too, and what statements leave in the server's session is reset
// before its next user:
//
//	ctx = session.WithSettings(ctx, map[string]string{"app.tenant_id": tenant})
//	rows, err := db.QueryContext(ctx, "SELECT * FROM orders")
//
// # Telemetry
//
// With an OpenTelemetry SDK in the application there are spans of statements, transactions and connects, and metrics of
// the pool: see package telemetry for their names. Statements are children of the span in their context.
//
//	otel.SetTracerProvider(provider)
//	rows, err := db.QueryContext(ctx, "SELECT ...") // a span "SELECT users" below that of ctx
//
// # pgx underneath
//
// All that is pgx's own is in reach, and its errors keep their identity:
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
// Code that wants a pgxpool, such as river's pgx driver and sqlc's pgx/v5 code, gets one with the same connection string:
//
//	config, err := pgsafe.NewPoolConfig(dsn)
//	pool, err := pgxpool.NewWithConfig(ctx, config)
//
// ConnectorOf finds the Connector behind a *sql.DB: its statistics and its warm-up.
package pgsafe
