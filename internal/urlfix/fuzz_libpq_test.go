package urlfix_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzLibpq compares urlfix with libpq on any string.
func FuzzLibpq(f *testing.F) {
	l := startLibpq(f)
	for _, c := range readCases(f) {
		f.Add(c.DSN)
	}
	for _, dsn := range tricky {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) { l.compare(t, dsn) })
}

// FuzzStrictlyValid compares them on strings that are made to be strictly valid.
func FuzzStrictlyValid(f *testing.F) {
	l := startLibpq(f)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(randomBytes(rnd))
	}
	f.Fuzz(func(t *testing.T, decisions []byte) { l.checkStrictlyValid(t, decisions) })
}

func TestStrictlyValidStringsKeepTheirMeaning(t *testing.T) {
	l := startLibpq(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	kinds := map[string]int{}
	for range 20_000 {
		kinds[l.checkStrictlyValid(t, randomBytes(rnd))]++
		if t.Failed() {
			return // one string is enough to look at
		}
	}
	t.Logf("%v", kinds)
	if kinds["accepted"] < 19_000 {
		t.Errorf("only %d strings are accepted", kinds["accepted"])
	}
}

func randomBytes(rnd *rand.Rand) []byte {
	b := make([]byte, 40+rnd.IntN(160))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// checkStrictlyValid writes a URI and a keyword/value string from valid parts. To libpq, each means its parts; to
// urlfix, the same.
func (l *libpq) checkStrictlyValid(t testing.TB, decisions []byte) (kind string) {
	t.Helper()
	s := sentence{choices: choices{decisions}, keywords: l.keywords, want: map[string]string{}}
	write := s.keywordValue
	if s.maybe() {
		write = s.uri
	}
	text := write()
	options, ok := l.parse(t, text)
	if !ok || !maps.Equal(options, s.want) {
		t.Errorf("%q means %q to libpq, and was meant to mean %q", text, options, s.want)
	}
	kind = l.agree(t, text, options)
	if kind != "accepted" && (kind != "ambiguous" || !isURI(text)) {
		t.Errorf("%q is strictly valid, and %s", text, kind)
	}
	return kind
}

// choices are decisions, made ahead by chance or by the fuzzer. When they are used up, all are 0.
type choices struct{ bytes []byte }

// upTo returns a number below n.
func (c *choices) upTo(n int) int {
	if len(c.bytes) == 0 {
		return 0
	}
	first := c.bytes[0]
	c.bytes = c.bytes[1:]
	return int(first) % n
}

func (c *choices) maybe() bool { return c.upTo(2) == 1 }

func pick[T any](c *choices, from []T) T { return from[c.upTo(len(from))] }

// letters are what texts are made of: all kinds of characters, and those that mean something more than once.
var letters = []rune("abcXYZ0189 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~@:/%?#&=äß日😀")

// text returns a text of up to n characters.
func (c *choices) text(n int) string {
	text := make([]rune, c.upTo(n+1))
	for i := range text {
		text[i] = pick(c, letters)
	}
	return string(text)
}

// encoded percent-encodes what is in must, and of the rest what chance says.
func (c *choices) encoded(text, must string) string {
	var b strings.Builder
	for _, r := range text {
		if !strings.ContainsRune(must, r) && c.upTo(4) > 0 {
			b.WriteRune(r)
			continue
		}
		digits := pick(c, []string{"%%%02X", "%%%02x"})
		for _, octet := range []byte(string(r)) {
			fmt.Fprintf(&b, digits, octet)
		}
	}
	return b.String()
}

// sentence is a connection string that gets written, with what it means.
type sentence struct {
	choices
	keywords []string          // those that this libpq knows
	want     map[string]string // what the string means, as options of libpq
}

func (s *sentence) means(key, value string) { s.want[key] = value }

// uri writes a URI. "@" is only written raw where a slash in front of it ends libpq's search for userinfo.
func (s *sentence) uri() string {
	var b strings.Builder
	b.WriteString(pick(&s.choices, []string{"postgres://", "postgresql://"}))
	b.WriteString(s.userinfo())
	b.WriteString(s.authority())
	must := "@&=% "
	if s.maybe() {
		must = "&=% "
		b.WriteString("/" + s.database())
	}
	separator := "?"
	for range s.upTo(5) {
		if key, value := s.parameter(); key != "" {
			b.WriteString(separator + s.encoded(key, "") + "=" + s.encoded(value, must))
			separator = "&"
			s.means(key, value)
		}
	}
	return b.String()
}

func (s *sentence) userinfo() string {
	if s.upTo(4) == 0 {
		return ""
	}
	user, password := s.text(8), s.text(12)
	written := s.encoded(user, "@/:% ")
	if user != "" {
		s.means("user", user)
	}
	if s.upTo(4) > 0 {
		written += ":" + s.encoded(password, "@/% ")
		if password != "" {
			s.means("password", password)
		}
	}
	return written + "@"
}

// authority writes up to three hosts with ports.
func (s *sentence) authority() string {
	var written, hosts, ports []string
	for range s.upTo(4) {
		host, port := s.host(), s.port()
		element := s.encoded(host, "/,:?@[]#% ")
		if strings.Contains(host, ":") && host[0] != '/' {
			element = "[" + s.encoded(host, "%") + "]"
		}
		if port != "" || s.maybe() {
			element += ":" + s.encoded(port, "")
		}
		written, hosts, ports = append(written, element), append(hosts, host), append(ports, port)
	}
	if list := strings.Join(hosts, ","); list != "" {
		s.means("host", list)
	}
	if list := strings.Join(ports, ","); list != "" {
		s.means("port", list)
	}
	return strings.Join(written, ",")
}

func (s *sentence) host() string {
	switch s.upTo(6) {
	case 0:
		return ""
	case 1:
		return pick(&s.choices, []string{"::1", "fe80::1%eth0", "2001:DB8::0:1", "::ffff:10.0.0.1"})
	case 2:
		return "/" + strings.ReplaceAll(s.text(6), ",", "")
	}
	return pick(&s.choices, []string{"h", "db.example.com", "127.0.0.1", "my_db", "user", "-x", "a.", "UPPER", "5432"})
}

func (s *sentence) port() string {
	switch s.upTo(3) {
	case 0:
		return ""
	case 1:
		return "05432"
	}
	return strconv.Itoa(1 + s.upTo(256)*255)
}

func (s *sentence) database() string {
	name := s.name(8)
	if name != "" {
		s.means("dbname", name)
	}
	return s.encoded(name, "?@% ")
}

// values are what keywords may have. One that is not among them takes any text.
var values = map[string][]string{
	"sslmode":                   {"disable", "allow", "prefer", "require", "verify-full"},
	"connect_timeout":           {"0", "10", "-1", " 007 "},
	"target_session_attrs":      {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
	"channel_binding":           {"disable", "prefer", "require"},
	"sslsni":                    {"0", "1"},
	"sslcompression":            {"0", "1"},
	"gssencmode":                {"disable", "prefer"},
	"gssdelegation":             {"0"},
	"gsslib":                    {"gssapi"},
	"client_encoding":           {"auto", "UTF8", "utf-8", "unicode"},
	"replication":               {"false", "off", "no", "0"},
	"keepalives":                {"0", "1"},
	"keepalives_idle":           {"30", "+5", "05"},
	"keepalives_interval":       {"3"},
	"keepalives_count":          {"9"},
	"tcp_user_timeout":          {"1000", "0"},
	"ssl_min_protocol_version":  {"TLSv1.2", "tlsv1"},
	"ssl_max_protocol_version":  {"TLSv1.3", "tLSV1.2", ""},
	"require_auth":              {"scram-sha-256", "!password,!none", ""},
	"sslcertmode":               {"disable", "allow", "require"},
	"load_balance_hosts":        {"disable", "random"},
	"sslnegotiation":            {"postgres"},
	"min_protocol_version":      {"3.0"},
	"max_protocol_version":      {"3.2", "latest", "3.0"},
	"application_name":          nil,
	"fallback_application_name": nil,
	"options":                   nil,
	"passfile":                  nil,
	"sslpassword":               nil,
	"sslcert":                   nil,
	"sslkey":                    nil,
	"sslrootcert":               nil,
	"sslcrl":                    nil,
	"sslcrldir":                 nil,
	"requirepeer":               nil,
	"krbsrvname":                nil,
	"user":                      nil,
	"password":                  nil,
	"dbname":                    nil,
}

// parameter returns one that the string does not have yet, or none: what is given twice is another matter.
func (s *sentence) parameter() (key, value string) {
	key = pick(&s.choices, slices.Sorted(maps.Keys(values)))
	_, given := s.want[key]
	if given || !slices.Contains(s.keywords, key) {
		return "", ""
	}
	if from := values[key]; from != nil {
		return key, pick(&s.choices, from)
	}
	if key == "dbname" {
		return key, s.name(10)
	}
	return key, s.text(10)
}

// name is a text for a database. With "://" in it, it would look like a connection string of its own.
func (s *sentence) name(n int) string { return strings.ReplaceAll(s.text(n), ":", "") }

// keywordValue writes a keyword/value string.
func (s *sentence) keywordValue() string {
	var b strings.Builder
	for range s.upTo(8) {
		key, value := s.parameter()
		if s.upTo(4) == 0 {
			key, value = s.server()
		}
		if key == "" {
			continue
		}
		s.means(key, value)
		b.WriteString(s.blanks() + key + s.blanks() + "=" + s.blanks() + s.value(value) + " ")
	}
	return b.String() + s.blanks()
}

// server returns hosts or ports, which must be as many.
func (s *sentence) server() (key, value string) {
	key = pick(&s.choices, []string{"host", "port"})
	if _, given := s.want[key]; given {
		return "", ""
	}
	if key == "host" {
		return key, s.host() + "," + s.host()
	}
	return key, s.port()
}

func (s *sentence) blanks() string { return strings.Repeat(" ", s.upTo(3)) }

// value writes a value. Without quotes it must not look like another parameter, nor like one of a list.
func (s *sentence) value(value string) string {
	if s.maybe() || value == "" || strings.ContainsAny(value, "=;") || strings.HasSuffix(value, ",") {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
	}
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`, " ", `\ `).Replace(value)
}
