// Command pgsafe explains PostgreSQL connection strings, and checks the way to a server.
//
//	pgsafe dsn 'postgresql+psycopg2://app:p[ss@db:5432/orders'   what the string means
//	pgsafe doctor                                                checks against $DATABASE_URL, or a server of its own
//	pgsafe postgres-bin                                          where PostgreSQL's programs are, fetched if need be
//	pgsafe version
//
// It exits with 0 if all is well, 1 if something failed, and 2 if it was called in a wrong way. No
// secret of a connection string is ever shown, but by "dsn --show-password".
package main

import (
	"context"
	"log/slog"
	"os"

	_ "github.com/pgsafe/pgsafe/pgsafeotelsql" // the doctor opens strings with pgsafe_telemetry=otelsql too
)

func main() {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // reports have the warnings
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
