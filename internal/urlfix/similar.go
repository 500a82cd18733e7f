package urlfix

import "strings"

// similar returns the keyword that key is most likely a misspelling of, or "". It returns names of
// the table only.
func similar(key string) string {
	const maxLength = 40 // longer than any keyword by more than the distance allowed
	if len(key) < 3 || len(key) > maxLength {
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
