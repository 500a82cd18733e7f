// Package wire reads along on a connection to a server, in plain text, between pgconn's frontend
// and the network. From the heads of the messages it knows three things: whether the server owes
// an answer, whether it can have begun the last request, and whether it keeps to the protocol. A
// message that breaks the protocol never reaches pgx.
//
// It can put a statement in front of others (Prefix). What the server says about that never reaches
// pgx either, and is not looked at by the rest.
package wire
