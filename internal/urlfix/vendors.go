package urlfix

import "strings"

const placeholderWarning = "it looks like a placeholder that was not filled in, or like one whose brackets were kept"

// placeholder reports whether s is the text of a template: ${DB_USER} of shells and compose
// files, $(DB_USER) of Kubernetes, {{user}}, <password> and [YOUR-PASSWORD] of vendors'
// consoles, %(user)s of Python, $DB_USER. As user, password and database such texts are valid.
// As host none is.
func placeholder(s string) bool {
	if s == "" {
		return false
	}
	switch s[0] {
	case '$', '{', '<', '[', '%':
	default:
		return false // as nearly always
	}
	for _, brackets := range [...][2]string{{"${", "}"}, {"{", "}"}, {"<", ">"}, {"[", "]"}, {"%(", ")s"}, {"$(", ")"}} {
		inner, opened := strings.CutPrefix(s, brackets[0])
		if inner, closed := strings.CutSuffix(inner, brackets[1]); opened && closed && inner != "" {
			return true
		}
	}
	name, found := strings.CutPrefix(s, "$")
	return found && strings.Contains(name, "_") && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == ""
}
