package urlfix

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const hintSSLMode = "it is one of disable, allow, prefer, require, verify-ca, verify-full, in lower case"

// checkSSLMode takes what libpq takes, node-postgres' word for require, and asyncpg's underscores
// (SSLMode.parse in connect_utils.py). pgx would read the empty value as prefer.
func checkSSLMode(value string) (string, string) {
	switch value {
	case "disable", "allow", "prefer", "require", "verify-ca", "verify-full":
		return value, ""
	case "no-verify":
		return "require", ""
	case "verify_ca", "verify_full":
		return strings.Replace(value, "_", "-", 1), ""
	case "":
		return "", "the value is empty"
	}
	return "", "the value is no sslmode"
}

// checkSSL reads ssl= in a plain URI. "true" is libpq's own alias (conninfo_uri_parse_params),
// which pgx has as well. Of the other values, those count on which all tools agree that write them
// into such a URI, or of which the strongest meaning is taken.
func checkSSL(value string) (string, string) {
	switch value {
	case "true", "no-verify", "require":
		return "require", ""
	case "1": // node-postgres alone
		return "verify-full", ""
	case "verify-ca", "verify-full":
		return value, ""
	case "false", "0":
		return "disable", ""
	}
	return "", "its value has a different meaning in every tool"
}

// oneOf makes the check for a parameter with a fixed set of values. The empty one is none of them,
// as in libpq.
func oneOf(values ...string) func(string) (string, string) {
	reason := "the value is none of " + strings.Join(values, ", ")
	return func(value string) (string, string) {
		if slices.Contains(values, value) {
			return value, ""
		}
		return "", reason
	}
}

// notEmpty is the check for a parameter whose empty value would select nothing.
func notEmpty(value string) (string, string) {
	if value == "" {
		return "", "the value is empty"
	}
	return value, ""
}

// checkCount reads a number that pgx wants as a Go int.
func checkCount(value string) (string, string) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return "", "the value is not a number from 0 on"
	}
	return strconv.FormatUint(n, 10), ""
}

// checkSeconds and checkMillis make a duration of a number.
func checkSeconds(value string) (string, string) { return durationOf(value, "s", "seconds") }
func checkMillis(value string) (string, string)  { return durationOf(value, "ms", "milliseconds") }

func durationOf(value, unit, units string) (string, string) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return "", "the value is not a whole number of " + units
	}
	return strconv.FormatUint(n, 10) + unit, ""
}

// checkBool reads a boolean that is written in any case.
func checkBool(value string) (string, string) {
	switch lower := strings.ToLower(value); lower {
	case "true", "false":
		return lower, ""
	}
	return "", "the value is neither true nor false"
}

// quotedName is a search_path of one schema, whatever characters its name holds.
func quotedName(value string) (string, string) {
	if value == "" {
		return "", "the value is empty"
	}
	plain := 'a' <= value[0] && value[0] <= 'z' || value[0] == '_'
	for i := range len(value) {
		c := value[i]
		plain = plain && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_')
	}
	if plain {
		return value, ""
	}
	return `"` + strings.ReplaceAll(value, `"`, `""`) + `"`, ""
}

// checkTimeout reads the seconds of connect_timeout. Zero and less mean "for ever" to libpq; pgx
// knows only zero.
func checkTimeout(value string) (string, string) {
	n, err := strconv.ParseInt(strings.Trim(value, " "), 10, 32)
	if err != nil {
		return "", "the value is not a whole number of seconds"
	}
	return strconv.FormatInt(max(n, 0), 10), ""
}

// checkWhole reads a number as libpq does (parse_int_param, fe-connect.c): blanks around it, and a
// sign.
func checkWhole(value string) (string, string) {
	n, err := strconv.ParseInt(strings.Trim(value, " "), 10, 32)
	if err != nil {
		return "", "the value is not a whole number"
	}
	return strconv.FormatInt(n, 10), ""
}

// checkAddresses reads the list of hostaddr. An empty element leaves its host to the resolver.
func checkAddresses(value string) (string, string) {
	for addr := range strings.SplitSeq(value, ",") {
		if _, err := netip.ParseAddr(addr); addr != "" && err != nil {
			return "", "an element of the list is not an IP address"
		}
	}
	return value, ""
}

// checkTLSVersion follows sslVerifyProtocolVersion (fe-connect.c), which has no regard for case.
func checkTLSVersion(value string) (string, string) {
	for _, version := range [...]string{"", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"} {
		if strings.EqualFold(value, version) {
			return version, ""
		}
	}
	return "", "the value is none of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"
}

// checkEncoding takes the names the server has for UTF-8 (clean_encoding_name, encnames.c): pgx
// knows no other.
func checkEncoding(value string) (string, string) {
	clean := strings.Map(func(r rune) rune {
		if r < 0x80 && letterOrDigit(byte(r)) {
			return r
		}
		return -1
	}, strings.ToLower(value))
	if clean == "utf8" || clean == "unicode" {
		return value, ""
	}
	return "", "an encoding other than UTF-8 is not supported"
}

// checkRequireAuth follows the loop over require_auth in pqConnectOptions2 (fe-connect.c).
func checkRequireAuth(value string) (string, string) {
	if value == "" {
		return "", ""
	}
	var seen []string
	for i, method := range strings.Split(value, ",") {
		name, negated := strings.CutPrefix(method, "!")
		if i > 0 && negated != strings.HasPrefix(value, "!") {
			return "", "methods with and without \"!\" are mixed"
		}
		switch name {
		case "password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none":
		default:
			return "", "a method is none of password, md5, gss, sspi, scram-sha-256, oauth, none"
		}
		if slices.Contains(seen, name) {
			return "", "a method is given twice"
		}
		seen = append(seen, name)
	}
	return value, ""
}
