package pgsafe

import "github.com/pgsafe/pgsafe/internal/urlfix"

// Dialect is the name of a tool whose connection strings are read as that tool reads them. The form
// of most strings shows their dialect. If it does not, name the dialect: a plain postgres:// string
// with sslcert, say, means one thing to Prisma and another to libpq.
//
// The zero value is for a string whose dialect is not known. The names:
//
//	libpq       psql, psycopg and all other users of libpq
//	pgx         the same, pgx's own keys included
//	libpq-go    github.com/lib/pq
//	sqlalchemy  SQLAlchemy, as postgresql+psycopg2://
//	asyncpg     asyncpg itself
//	django      dj-database-url, django-environ
//	rails       Active Record
//	ecto        Ecto and Postgrex
//	node        node-postgres
//	postgresjs  postgres.js
//	prisma      Prisma's own engine, up to Prisma 6
//	jdbc        pgJDBC
//	npgsql      Npgsql
//	pdo         PHP's PDO
//
// In a connection string, the key pgsafe_dialect names it; for sql.OpenDB and Open, WithDialect
// does.
type Dialect string

// Normalize is the function Normalize for a string in the dialect d. It refuses a string that has
// the form of another dialect. The error is a *DSNError.
func (d Dialect) Normalize(dsn string) (string, error) {
	uri, pool, driver, err := urlfix.Normalize(dsn, string(d))
	if err != nil {
		return "", dsnError(err)
	}
	if err := checkKeys(pool, driver); err != nil {
		return "", err
	}
	return uri, nil
}

// Inspect is the function Inspect for a string in the dialect d. It refuses a string that has the
// form of another dialect. The error is a *DSNError.
func (d Dialect) Inspect(dsn string) (*Report, error) {
	parsed, err := urlfix.ParseAs(dsn, string(d))
	if err != nil {
		return nil, dsnError(err)
	}
	if err := checkKeys(parsed.Pool, parsed.Driver); err != nil {
		return nil, err
	}
	return report(parsed), nil
}
