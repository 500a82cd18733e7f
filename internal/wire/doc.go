// Package wire reads along on a connection to a server, in plain text, between pgconn's frontend
// and the network. From the heads of the messages it knows three things: whether the server owes
// an answer, whether it can have begun the last request, and whether it keeps to the protocol. A
// message that breaks the protocol never reaches pgx.
package wire
