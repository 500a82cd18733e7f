// Package pgtest gives tests real PostgreSQL servers.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		uri := pgtest.Shared(t).Database(t) // a database of its own
//		...
//	}
//
// Every function takes the test, fails it when it cannot do its work, and undoes what it did when
// the test ends. A machine without PostgreSQL fails the test with a text that says how to get it;
// nothing is ever skipped. All of it may be used by parallel tests.
package pgtest
