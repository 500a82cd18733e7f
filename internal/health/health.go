// Package health names what is known of a connection to a server.
package health

// State is what a user left of a connection.
type State uint8

// The states of a released connection.
const (
	Clean    State = iota // the next user can have it
	Dirty                 // the next user can have it after a reset
	Unfit                 // it has an open transaction or unread rows, or was closed on purpose
	Doubtful              // it was closed on this side, for want of an answer
	Lost                  // it broke, or the server ended it
	Outdated              // the server ends all connections, or is not the wanted one any more
)

// Trust is how far an idle connection is believed to be alive.
type Trust uint8

// The degrees of trust.
const (
	Trusted Trust = iota
	Suspect       // another connection was lost after this one was last used
)
