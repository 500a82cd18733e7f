package pgtest

import "strings"

// Shows reports whether text holds four characters in a row of secret. Four digits do not count:
// they may be part of a port, a time or a directory's name. The four characters around them still
// count.
func Shows(text, secret string) bool {
	for i := 0; i+4 <= len(secret); i++ {
		part := secret[i : i+4]
		if strings.Trim(part, "0123456789") != "" && strings.Contains(text, part) {
			return true
		}
	}
	return false
}
