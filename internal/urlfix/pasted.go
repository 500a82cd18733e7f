package urlfix

import "strings"

// pasted recognises what stands around a connection string when it is copied from somewhere.
func pasted(s string) *Error {
	starts := func(prefix string) bool { return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) }
	switch {
	case strings.HasPrefix(s, "\ufeff"):
		return fault(CodeSyntax, "string", 0, "it starts with a byte order mark", "save the file as UTF-8 without one")
	case starts("export "), starts("set "):
		return fault(CodeSyntax, "string", 0, "it starts with a command of the shell", "leave out all before the string itself")
	case starts("psql "):
		return fault(CodeSyntax, "string", 0, "it starts with the command psql",
			"leave out the command and the quotes around the string")
	case starts("dbi:pg:"):
		return fault(CodeSyntax, "scheme", 0, "this is a string of Perl's DBI", "leave out dbi:Pg:, and write blanks for ;")
	case assigned(s):
		return fault(CodeSyntax, "string", 0, "it starts with the name of an environment variable",
			"leave out the name and the equals sign")
	}
	return nil
}

// assigned reports whether s is NAME=postgres://..., with quotes or without.
func assigned(s string) bool {
	name, rest, found := strings.Cut(s, "=")
	if !found || name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") != "" {
		return false
	}
	rest = strings.TrimLeft(rest, "\"' ")
	i := strings.Index(rest, ":")
	return i > 0 && i < 32 && strings.HasPrefix(strings.ToLower(rest), "postgres") ||
		strings.HasPrefix(rest, "jdbc:") || strings.HasPrefix(rest, "pgsql:")
}
