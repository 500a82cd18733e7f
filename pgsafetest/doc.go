// Package pgsafetest is for tests of applications that use pgsafe.
//
// Record counts the statements that a piece of code runs, on a *sql.DB that is open already:
//
//	ran := pgsafetest.Record(t, db)
//	handler.ServeHTTP(w, r)
//	ran.AtMost(3) // or fails with "26 statements: 25 SELECT lines, 1 SELECT orders"
//
// Server starts a PostgreSQL server of the test's own:
//
//	db, err := sql.Open("pgsafe", pgsafetest.Server(t))
package pgsafetest
