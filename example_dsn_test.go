package pgsafe_test

import (
	"errors"
	"fmt"

	"github.com/pgsafe/pgsafe"
)

func ExampleNormalize() {
	uri, err := pgsafe.Normalize("postgresql+psycopg2://app:a/b[c@db:5432/orders?sslmode=require")
	fmt.Println(uri, err)

	_, err = pgsafe.Normalize("postgresql://app:1234/word@db:5432/orders")
	var bad *pgsafe.DSNError
	if errors.As(err, &bad) {
		fmt.Println(bad.Code)
	}
	// Output:
	// postgres://app:a%2Fb%5Bc@db:5432/orders?sslmode=require <nil>
	// ambiguous
}

// Prisma calls the server's authority sslcert, which is a client's certificate to everybody else.
func ExampleDialect_Normalize() {
	uri, err := pgsafe.Dialect("prisma").Normalize("postgres://app:secret@db/orders?sslaccept=strict&sslcert=ca.pem")
	fmt.Println(uri, err)
	// Output:
	// postgres://app:secret@db/orders?sslmode=verify-full&sslrootcert=ca.pem <nil>
}

func ExampleRedact() {
	fmt.Println(pgsafe.Redact("host=db user=app password=secret dbname=orders"))
	fmt.Println(pgsafe.Redact("postgres://app:secret@db:port/orders"))
	// Output:
	// postgres://app:***@db/orders
	// postgres://[unparseable, 36 bytes]
}
