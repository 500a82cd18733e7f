// Package telemetry documents the spans and metrics of pgsafe and has the types of its options.
//
// Names follow OpenTelemetry's semantic conventions for databases, version 1.43. Where the
// conventions have no name, it begins with "pgsafe.". Telemetry needs no setup: sql.Open looks up
// OpenTelemetry's global providers. Options change the defaults:
//
//	db, err := pgsafe.Open(dsn, pgsafe.WithTelemetry(telemetry.WithPoolName("orders")))
//
// Spans:
//
//	{db.query.summary}   client     a statement, batch or COPY, until its rows are closed
//	TRANSACTION          internal   from BEGIN to COMMIT or ROLLBACK; parent of its statements
//	CONNECT              client     one dial, until the connection is ready or has failed
//	SESSION              internal   one call of session.Do, or one request of session.Middleware
//	pgsafe.pool.wait     internal   a statement's wait for a connection; its child. None if nothing waited
//
// The span of a statement covers the call as its caller saw it: the wait, and runs in vain after
// which the statement ran again. A statement that got no connection has a span too.
//
// Attributes of spans:
//
//	db.system.name                      postgresql
//	db.namespace                        the database
//	server.address                      the server's name or address, or the directory of its socket
//	server.port                         only if it is not 5432
//	db.client.connection.pool.name      host:port/database, or the name of WithPoolName
//	db.query.summary                    operations and tables, such as "SELECT users"
//	db.query.text                       the text without literals and comments
//	db.query.parameter.<n>              an argument, counted from 0; only with WithQueryParameters
//	db.operation.batch.size             statements in a batch
//	db.response.returned_rows           rows read from a SELECT or FETCH
//	pgsafe.response.affected_rows       rows written
//	db.response.status_code             SQLSTATE of an error
//	error.type                          SQLSTATE, or a reason: see docs/telemetry.md
//	pgsafe.error.constraint             the constraint that was violated, if the server names it
//	pgsafe.error.table                  the table of the error, if the server names it
//	pgsafe.error.column                 the column of the error, if the server names it
//	pgsafe.canceled                     the caller cancelled its context; this is not an error
//	pgsafe.rows.unclosed                still open when its connection was released: unclosed rows, a panic
//	pgsafe.pool.wait.reason             what was waited for: pool, dial, reset, check
//	pgsafe.connect.attempt              number of the dial since the last that succeeded, from 1
//	pgsafe.connect.reason               first_use, demand, lost, renewal, warm_up, floor
//	pgsafe.transaction.isolation_level  only if BEGIN names one
//	pgsafe.transaction.read_only        only if BEGIN sets the access mode
//	pgsafe.transaction.outcome          commit, rollback, prepared, or unknown: COMMIT was sent, no answer came
//	pgsafe.transaction.statements       number of statements, BEGIN and the last one not counted
//	pgsafe.session.outcome              ok, error, or aborted by a panic or runtime.Goexit
//	pgsafe.session.statements           number of statements, BEGIN and COMMIT of session.Tx not counted
//	pgsafe.session.checkouts            how often the session took a connection from the pool
//	pgsafe.session.wait_time            seconds that its statements waited for connections
//	pgsafe.session.database_time        seconds that its statements took
//
// Events on spans:
//
//	pgsafe.repeat         the statement had not begun, and ran again: error.type of the run before
//	pgsafe.ping           its idle connection was pinged first: pgsafe.duration, in seconds
//	pgsafe.settings       settings of the context were applied first: pgsafe.duration
//	pgsafe.reset          it waited for a reset of its session: pgsafe.duration
//	pgsafe.pool.wait      of a pgxpool only: an acquire has failed: pgsafe.pool.wait_time, in seconds
//	pgsafe.prepare        pgx prepared the statement first: one more round trip
//	pgsafe.batch.failed   a statement of a batch failed: pgsafe.batch.position
//	dns tcp tls auth      a step of a dial has ended; error.type if it failed
//	pgsafe.session.repeated    a text ran more often in one session than WithRepeatLimit allows (N+1)
//	pgsafe.session.left_open   rows, a transaction or a connection were open at the session's end
//	pgsafe.transaction.retry   session.Tx runs again after a lost conflict: pgsafe.transaction.attempt
//
// Metrics:
//
//	db.client.operation.duration            histogram      s             statements, batches, COPY, prepares
//	db.client.response.returned_rows        histogram      {row}         rows of a SELECT
//	db.client.connection.count              updowncounter  {connection}  by db.client.connection.state: used or idle
//	db.client.connection.max                updowncounter  {connection}  the pool's cap, if set
//	db.client.connection.idle.max           updowncounter  {connection}  the same, because all connections may be idle
//	db.client.connection.idle.min           updowncounter  {connection}  the pool's floor
//	db.client.connection.pending_requests   updowncounter  {request}     callers waiting for a connection
//	db.client.connection.timeouts           counter        {timeout}     acquires that failed at a deadline
//	db.client.connection.create_time        histogram      s             time of a dial that succeeded
//	db.client.connection.wait_time          histogram      s             time of an acquire that waited
//	db.client.connection.use_time           histogram      s             time from acquire to release
//	pgsafe.connection.failures              counter        {failure}     dials that failed, by error.type
//	pgsafe.connection.failure_time          histogram      s             time of a dial that failed, by error.type
//	pgsafe.cancels                          counter        {request}     cancel requests, by pgsafe.cancel.outcome
//	pgsafe.recoveries                       counter        {recovery}    failures hidden from the application, by cause
//	pgsafe.session.leaked_state             counter        {state}       effects that a reset removed, by statement
//	pgsafe.session.duration                 histogram      s             time of a session
//	pgsafe.session.statements               histogram      {statement}   statements in a session
//	pgsafe.session.checkouts                histogram      {checkout}    connections that a session took, one after another
//	pgsafe.session.wait_time                histogram      s             time that a session waited for connections
//	pgsafe.session.left_open                counter        {object}      what was left open, by pgsafe.left_open.kind
//	pgsafe.transaction.retries              counter        {retry}       runs of session.Tx after a lost conflict
//	pgsafe.tls.certificate.expiry           gauge          s             until the client certificate expires
//
// docs/telemetry.md lists the attributes of each metric.
//
// No span or measurement contains the message of an error. None contains an argument, unless
// WithQueryParameters asks for arguments.
package telemetry
