package urlfix

import "strings"

// Parameters that stand inside another value, because the separator before them means nothing in
// the form of the string: "user=u,password=..." in libpq's form, or "Database=d Password=..." in
// ADO.NET's. A tool sends the whole as user, database or application name, and shows it in errors.

// checkHidden refuses a password in a part that is shown, and a parameter in the database's name.
func (d *DSN) checkHidden() *Error {
	for _, one := range [...]Param{{"user", d.User}, {"database", d.Database}} {
		if hidesPassword(one.Value) {
			return hiddenPassword(one.Key)
		}
	}
	for _, h := range d.Hosts {
		if hidesPassword(h.Name) {
			return hiddenPassword("host")
		}
	}
	for _, list := range [...][]Param{d.Params, d.Settings, d.Pool, d.Driver} {
		for _, p := range list {
			if hidesPassword(p.Value) {
				return hiddenPassword(shownName(p.Key))
			}
		}
	}
	if hidesParameter(d.Database) {
		return fault(CodeSyntax, "database", -1, "a parameter stands in it, behind a separator that means nothing there",
			`parameters begin with "?", as in DATABASE?KEY=VALUE, and go on with "&"; in a name, write & as %26 and ? as %3F`)
	}
	return nil
}

func hiddenPassword(part string) *Error {
	return fault(CodeValue, part, -1, "a password parameter stands in it, behind a separator that means nothing there",
		"separate the parameters: "+shapeBoth)
}

// shownName is the name of a parameter for an error. Settings of applications have names of their
// own.
func shownName(key string) string {
	if keywords[key] == nil && !knownSettings[key] {
		return settingRule.name
	}
	return key
}

// passwordNames are what tools call the password. The first ones count wherever they stand, the
// others behind a separator only.
var passwordNames = [...]struct {
	name  string
	apart bool
}{{"password", false}, {"passwd", false}, {"pwd", false}, {"pass", true}, {"psw", true}}

// hidesPassword reports whether a password parameter stands in text, percent-encoded or not. It
// allocates nothing where there is neither "=" nor an escape.
func hidesPassword(text string) bool {
	if namesPassword(text) {
		return true
	}
	if !hasEscape(text) {
		return false
	}
	decoded, _ := decodeLenient(text, false)
	return namesPassword(decoded)
}

func namesPassword(text string) bool {
	for {
		i := strings.IndexByte(text, '=')
		if i < 0 {
			return false
		}
		before := strings.TrimRight(text[:i], " \t\n\v\f\r")
		for _, one := range passwordNames {
			if endsWithFold(before, one.name) && (!one.apart || separatedAt(before, len(before)-len(one.name))) {
				return true
			}
		}
		text = text[i+1:]
	}
}

func endsWithFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// separatedAt reports whether a name begins at s[i:].
func separatedAt(s string, i int) bool { return i == 0 || !letterOrDigit(s[i-1]) && s[i-1] != '_' }

// hidesParameter reports whether "&", "?" or ";" stand before a known parameter.
func hidesParameter(text string) bool {
	for {
		i := strings.IndexAny(text, "&?;")
		if i < 0 {
			return false
		}
		text = text[i+1:]
		key, _, found := strings.Cut(text, "=")
		if key = strings.Trim(key, " "); found && (keywords[key] != nil || IsSetting(key) || foreignKeys[key] != nil) {
			return true
		}
	}
}
