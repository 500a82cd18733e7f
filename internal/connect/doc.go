// Package connect makes one connection to a server, with the application's hooks, passwords and
// certificates, and explains why it could not. It retries nothing: Dialer.Patience says how long a
// caller may go on after a failure.
package connect
