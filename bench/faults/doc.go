// Package faults puts pgsafe and pgx's own driver through the same faults, one after the other, and prints one table of
// counts:
//
//	go test -v -run Faults ./bench/faults
//	go test -v -run Faults ./bench/faults -long
//
// It asserts nothing: the tests beside pgsafe's source do. Both drivers are opened with plain sql.Open. The application
// is 20 goroutines with one statement after the other, each with a deadline of 2 s, on as many idle connections as it
// wants to keep.
//
//	good      statements that succeeded
//	failed    statements that failed and were not cancelled on purpose, by kind and SQLSTATE
//	opened    connections that the server let in
//	first     seconds from the end of the fault to the first success of a statement that began after it
//
// Failed statements and opened connections compare between the drivers of one run. Good statements depend on how long a
// fault takes, except under "every fifth is cancelled".
package faults
