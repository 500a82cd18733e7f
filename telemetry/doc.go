// Package telemetry makes the spans and metrics of pgsafe, under OpenTelemetry's names for databases (semantic
// conventions 1.43) and, where those have none, under pgsafe's own. It is on with sql.Open alone: the global providers
// are looked up when a connector opens. pgsafe's options change that: WithTracerProvider, WithMeterProvider,
// WithAttributes, WithPoolName, WithQueryText, WithQueryParameters, WithTraceComments, WithServerTags, WithTelemetry,
// WithoutTelemetry.
//
// Spans:
//
//	{db.query.summary}   client     a statement, a batch or a COPY, until its rows are closed
//	TRANSACTION          internal   from BEGIN to what ends it; parent of its statements
//	CONNECT              client     the making of a physical connection
//
// Attributes of spans:
//
//	db.system.name                      postgresql
//	db.namespace                        the database
//	server.address                      the server's name or address, or the directory of its socket
//	server.port                         only if it is not 5432
//	db.client.connection.pool.name      host:port/database, or what WithPoolName says
//	db.query.summary                    operations and tables, such as "SELECT users"
//	db.query.text                       the text without literals and comments
//	db.query.parameter.<n>              an argument, counted from 0; only with WithQueryParameters
//	db.operation.batch.size             statements in a batch
//	db.response.returned_rows           rows of a SELECT or FETCH, once they are closed
//	pgsafe.response.affected_rows       rows that were written
//	db.response.status_code             SQLSTATE of an error
//	error.type                          SQLSTATE, "timeout", or the type of a Go error
//	pgsafe.canceled                     the caller gave up, which is no error
//	pgsafe.rows.unclosed                it had not ended when the connection went back or the pool was closed: rows that nobody closed, a panic
//	pgsafe.transaction.isolation_level  only if BEGIN names one
//	pgsafe.transaction.read_only        only if BEGIN says so, one way or the other
//	pgsafe.transaction.outcome          commit, rollback, prepared, or unknown for a COMMIT without an answer
//	pgsafe.transaction.statements       statements in it, without BEGIN and what ends it
//
// Events on spans:
//
//	pgsafe.pool.wait      the statement had to wait for its connection: pgsafe.pool.wait_time, in seconds
//	pgsafe.prepare        pgx prepared the statement first, which is a round trip
//	pgsafe.batch.failed   a statement of a batch failed: pgsafe.batch.position
//	dns tcp tls auth      the steps of a connect, each when it is done, or with error.type
//
// Metrics:
//
//	db.client.operation.duration            histogram      s             statements, batches, COPY, prepares
//	db.client.response.returned_rows        histogram      {row}         rows of a SELECT
//	db.client.connection.count              updowncounter  {connection}  by db.client.connection.state: used or idle
//	db.client.connection.max                updowncounter  {connection}  the pool's cap, if it has one
//	db.client.connection.idle.max           updowncounter  {connection}  the same: any number of them may be idle
//	db.client.connection.idle.min           updowncounter  {connection}  kept open
//	db.client.connection.pending_requests   updowncounter  {request}     callers that wait for a connection
//	db.client.connection.timeouts           counter        {timeout}     callers that waited too long
//	db.client.connection.create_time        histogram      s             physical connects that succeeded
//	db.client.connection.wait_time          histogram      s             from asking the pool to having a connection
//	db.client.connection.use_time           histogram      s             from having it to giving it back or parking it
//	pgsafe.cancel.count                     counter        {request}     cancel requests, by pgsafe.cancel.outcome: taken or closed
//	pgsafe.recovery.count                   counter        {recovery}    failures kept from the application, by pgsafe.recovery.cause
//	pgsafe.session.leaked_state             counter        {state}       things left in a session, which was reset, by pgsafe.session.state and db.query.summary
//	pgsafe.tls.certificate.expiry           gauge          s             until the client certificate expires; negative once it has
//
// No span or measurement holds the words of a server or of an error, and no argument unless it is asked for by name.
package telemetry
