package urlfix

import "strings"

// aliases are what other tools and other databases call a parameter.
var aliases = map[string]string{
	"pass": "password", "passwd": "password", "pwd": "password", "psw": "password",
	"username": "user", "uid": "user", "userid": "user", "login": "user",
	"hostname": "host", "server": "host", "address": "host", "addr": "host", "datasource": "host",
	"db": "dbname", "databasename": "dbname", "db_name": "dbname", "initialcatalog": "dbname",
	"schema": "search_path", "timeout": "connect_timeout", "tls": "sslmode", "usessl": "sslmode",
	"appname": "application_name", "applicationname": "application_name",
}

// similarTo returns the parameter of a dialect that key is most likely meant to be, or "".
func similarTo(key string, t *tool) string {
	lower := strings.ToLower(key)
	if t != nil {
		for name := range t.rules {
			if strings.EqualFold(name, key) {
				return name
			}
		}
	}
	if name := aliases[lower]; name != "" {
		return name
	}
	if t != nil && len(key) <= maxKeyLength {
		best, name := 1+min(2, len(key)/4), ""
		for candidate := range t.rules {
			n := distance(lower, strings.ToLower(candidate))
			if n < best || n == best && name != "" && candidate < name {
				best, name = n, candidate
			}
		}
		if name != "" {
			return name
		}
	}
	return similar(key)
}

// namable returns the text of an unknown key for an error. An alias of a known one is in the table,
// and so is no secret. A key that is nearly a known one may differ from it by a secret, so it is
// named only if it differs by case, "-" and "_".
func namable(key string, t *tool) (string, bool) {
	plain := plainKey(key)
	for name := range aliases {
		if plainKey(name) == plain {
			return key, true
		}
	}
	for name := range keywords {
		if plainKey(name) == plain {
			return key, true
		}
	}
	if t != nil {
		for name := range t.rules {
			if plainKey(name) == plain {
				return key, true
			}
		}
	}
	return "", false
}

// plainKey is a key without case, "-" and "_".
func plainKey(key string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(key))
}

// maxKeyLength is longer than any keyword by more than the distance allowed.
const maxKeyLength = 40

// similar returns the keyword that key is most likely a misspelling of, or "". It returns names of
// the table only.
func similar(key string) string {
	if len(key) < 3 || len(key) > maxKeyLength {
		return ""
	}
	best, name := 1+min(2, len(key)/4), ""
	key = strings.ToLower(key)
	for candidate := range keywords {
		n := distance(key, candidate)
		if n < best || n == best && name != "" && candidate < name { // the order of a map is random
			best, name = n, candidate
		}
	}
	return name
}

// distance is the number of letters to insert, delete or replace to get from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
