// Package sqltext says what a SQL text is, without any of its literals: a summary by
// OpenTelemetry's rules, the text with its literals masked, and a class. A Cache keeps what was
// said of each text.
//
// # How a text is read
//
// What is a literal and what a comment is decided by the rules of PostgreSQL's own lexer (scan.l),
// in scan.go and plain.go. They rewrite the text into one without any, in which go-sqllexer finds
// the words, names and signs. It also masks whatever it still takes for a literal, so a literal
// comes through only if both miss it. go-sqllexer alone does not do for PostgreSQL: among others it
// ends a nested comment at its first end, and takes "a/1" for a name.
//
// Whether a backslash in a plain string escapes depends on the server's
// standard_conforming_strings, which a text does not tell. Where the two readings differ,
// everything is masked up to where they agree again. Only if the escaping one, which is not the
// default, leaves a string open while the other does not, it is taken to be wrong: a server that
// reads so would refuse the text. So LIKE 'a\' masks what it should, and 'it\'s' on an old server
// the rest of the text.
//
// # What is shown
//
// Names, keywords, operators, parameters ($1), NULL, TRUE and FALSE. A double-quoted thing is a
// name to PostgreSQL and shown, if it is closed. The values of SET are masked even if they are bare
// words, and statements that are there to hold a secret (CREATE USER ... PASSWORD) are not shown at
// all. What cannot be told from a name is shown: a value written without quotes, or in double
// quotes, by mistake, as in WHERE name = secret. The server refuses such a statement in most cases,
// but its text is still recorded.
//
// Only the first 16 KiB of a text are read, and only up to a NUL, where the server stops too.
package sqltext
