package pgsafe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsafe/pgsafe"
)

// An application changes one string.
func Example() {
	db, err := sql.Open("pgsafe", "postgres://app:p@ss[word@db.internal/orders?sslmode=verify-full&sslrootcert=system")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	c, _ := pgsafe.ConnectorOf(db)
	fmt.Println(c)
	// Output: pgsafe.Connector(app@db.internal:5432/orders)
}

// A string that cannot be read is refused at once, by an error that shows none of it.
func ExampleDSNError() {
	_, err := sql.Open("pgsafe", "postgres://app:secret@db.internal:port/orders")
	var dsnErr *pgsafe.DSNError
	fmt.Println(errors.As(err, &dsnErr), pgsafe.KindOf(err))
	// Output: true config
}

// Numbers of the pool are data.
func ExampleOpen() {
	profile := pgsafe.ProductionProfile()
	profile.MaxConns = 30
	profile.AcquireTimeout = time.Second
	db, err := pgsafe.Open("host=db.internal dbname=orders", pgsafe.WithProfile(profile))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	c, _ := pgsafe.ConnectorOf(db)
	fmt.Println(c.Stats().Max)
	// Output: 30
}

// What is pgx's own is in reach.
func ExampleRaw() {
	copyRows := func(ctx context.Context, db *sql.DB, rows [][]any) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return pgsafe.Raw(conn, func(c *pgx.Conn) error {
			_, err := c.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"id"}, pgx.CopyFromRows(rows))
			return err
		})
	}
	_ = copyRows
}
