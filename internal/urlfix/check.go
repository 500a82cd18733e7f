package urlfix

import (
	"cmp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Check is Parse for one keyword that does not come from a string, but from a service file or the
// environment. It returns the keyword under libpq's name with its value in canonical form, or no
// Key if it changes nothing. Server settings pass if they may be named as keys. Keys of the driver
// and its pool are unknown here, and so are the secrets, password and sslpassword, which need no
// check.
func Check(key, value string) (Param, *Error) {
	r := keywords[key]
	if r == nil && IsSetting(key) {
		r = settingRule
	}
	if r == nil || !r.outsideStrings() {
		return Param{}, fault(CodeUnknownKey, "parameter", -1, "its name is not known", "")
	}
	if strings.ContainsFunc(value, func(c rune) bool { return c < utf8.RuneSelf && control(byte(c)) }) {
		return Param{}, fault(CodeControlCharacter, r.name, -1, "it holds a control character", valueHint)
	}
	for _, dropped := range r.drop {
		if value == dropped {
			return Param{}, nil
		}
	}
	if r.check != nil {
		var reason string
		if value, reason = r.check(value); reason != "" {
			return Param{}, fault(CodeValue, r.name, -1, reason, cmp.Or(r.hint, valueHint))
		}
	}
	return r.param(key, value)
}

// outsideStrings reports whether the rule is for a keyword that service files and the environment
// may have too.
func (r *rule) outsideStrings() bool {
	switch r.use {
	case usePassword, useSSLPassword, useSSL, usePool, useDriver, useLater:
		return false
	}
	return true
}

// param gives a checked value the name and the place that it would have in a DSN.
func (r *rule) param(key, value string) (Param, *Error) {
	switch r.use {
	case useOptional:
		if value == "" {
			return Param{}, nil
		}
	case useIgnore:
		return Param{}, nil
	case useRefuse:
		return Param{}, fault(CodeUnsupported, r.name, -1, "it is not supported", r.hint)
	case useDatabase:
		return Param{"dbname", value}, nil
	case useSetting:
		return Param{settingName(key), value}, nil
	case useHost:
		return Param{"host", value}, checkHostList(value)
	case usePort:
		return Param{"port", value}, checkPortList(value)
	}
	return Param{r.name, value}, nil
}

// settingName makes known names lower case, because two spellings of one name would otherwise be
// two settings.
func settingName(key string) string {
	if lower := strings.ToLower(key); knownSettings[lower] {
		return lower
	}
	return key
}

func checkHostList(value string) *Error {
	for name := range strings.SplitSeq(value, ",") {
		if reason := checkHost(name); reason != "" {
			return namedHostFault(-1, reason)
		}
	}
	return nil
}

func checkPortList(value string) *Error {
	for text := range strings.SplitSeq(value, ",") {
		if _, ok := plainPort(text); !ok {
			return fault(CodeValue, "port", -1, "it is not a number from 1 to 65535", "")
		}
	}
	return nil
}

// HostParams returns host and port as libpq's keywords, each only if the string gives it: else
// PGHOST and PGPORT count. An empty port in a list is the default one.
func (d *DSN) HostParams() []Param {
	var names, ports []string
	named, numbered := false, false
	for _, h := range d.Hosts {
		names = append(names, h.Name)
		named = named || h.Name != ""
		ports = append(ports, portText(h.Port))
		numbered = numbered || h.Port != 0
	}
	var params []Param
	if named || (d.hostsInQuery || len(d.Hosts) > 1) && param(d, "hostaddr") == nil {
		params = append(params, Param{"host", strings.Join(names, ",")})
	}
	if numbered || len(d.Hosts) > 1 && !d.hostsInQuery {
		params = append(params, Param{"port", strings.Join(ports, ",")})
	}
	return params
}

func portText(port uint16) string {
	if port == 0 {
		return ""
	}
	return strconv.Itoa(int(port))
}
