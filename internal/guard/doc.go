// Package guard keeps a connection through what would end it: a statement whose context is done, above all.
//
// A Canceler gives each connection a Handler, which asks the server to cancel the statement instead of closing the
// connection. After such a request the connection is fenced until Clear has made sure that the next statement
// cannot be hit in the cancelled one's place.
package guard
