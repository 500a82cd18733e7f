// Package pgserver runs real PostgreSQL servers for a short while: for tests, and for commands that
// want to show something against a server of their own.
//
//	s, err := pgserver.Start(ctx, pgserver.Options{})
//	if err != nil { ... }
//	defer s.Stop(pgserver.Immediate)
//	db, err := sql.Open("pgsafe", s.URI(""))
//
// A server listens on a free TCP port of 127.0.0.1 (and of ::1, where there is one) and on a unix
// socket in a directory that only its operating system user and the caller can enter. All its files
// are in one temporary directory, which Stop removes. Durability is off: a server survives a crash
// of its own (Kill and Restart), not one of the machine.
//
// PostgreSQL refuses to run as root, so a caller that is root gets a server that runs as the
// operating system's user "postgres" or else "nobody". Nothing is taken from the environment but
// what Find and os.TempDir say, and nothing else is needed: neither HOME nor USER, nor a network.
// The directory is made in TMPDIR; if that is not set, in Linux's /dev/shm when that has gigabytes
// of room, which makes starting several times faster, or else in /tmp.
//
// On Linux the kernel ends a server whose parent dies, however it dies. Elsewhere a parent that is
// killed leaves its servers running. The directory of a parent that was killed is removed by a
// later Start.
//
// The trust authentication of the zero Options lets every local user in as superuser. It is meant
// for machines on which all users are trusted, or for data that may be seen.
package pgserver
