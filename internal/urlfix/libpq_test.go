package urlfix_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// libpq is libpq itself: a process around PQconninfoParse, testdata/libpq/conninfo.c, that answers one string after
// another. It is not safe for concurrent use.
type libpq struct {
	in       io.Writer
	out      *bufio.Reader
	keywords []string // those that this version knows
}

// startLibpq starts the program, which ends with the test.
func startLibpq(t testing.TB) *libpq {
	t.Helper()
	run := exec.Command(buildConninfo(t))
	run.Stderr = os.Stderr
	in, err := run.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := run.Wait(); err != nil {
			t.Errorf("conninfo: %v", err)
		}
	})
	l := &libpq{in: in, out: bufio.NewReader(out)}
	l.keywords = l.answer(t)
	return l
}

// buildConninfo builds the program. Without a C compiler or libpq's header, the test is skipped: nothing else that is
// done with pgsafe needs them. PGSAFE_LIBPQ names the lib directory of another libpq.
func buildConninfo(t testing.TB) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "conninfo")
	build := exec.Command(compiler(t), "-o", program, filepath.Join("testdata", "libpq", "conninfo.c"), "-I",
		includeDir(t))
	if dir := os.Getenv("PGSAFE_LIBPQ"); dir != "" {
		build.Args = append(build.Args, "-L"+dir, "-Wl,-rpath,"+dir)
	} else if dir := pgConfig("--libdir"); dir != "" {
		build.Args = append(build.Args, "-L"+dir)
	}
	build.Args = append(build.Args, "-lpq")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("conninfo.c: %v\n%s", err, out)
	}
	return program
}

func compiler(t testing.TB) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("to compare with libpq, install a C compiler (cc)")
	}
	return cc
}

func includeDir(t testing.TB) string {
	t.Helper()
	for _, dir := range []string{pgConfig("--includedir"), "/usr/include/postgresql", "/usr/include",
		"/usr/local/include"} {
		if _, err := os.Stat(filepath.Join(dir, "libpq-fe.h")); err == nil {
			return dir
		}
	}
	t.Skip("to compare with libpq, install its header libpq-fe.h (libpq-dev, postgresql-devel)")
	return ""
}

// pgConfig asks for a directory, and returns "" if there is no pg_config.
func pgConfig(option string) string {
	out, err := exec.Command("pg_config", option).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// parse returns the options that libpq finds in s, or false if it refuses s, or could not be given it.
func (l *libpq) parse(t testing.TB, s string) (options map[string]string, ok bool) {
	t.Helper()
	if strings.IndexByte(s, 0) >= 0 {
		return nil, false
	}
	if _, err := io.WriteString(l.in, s+"\x00"); err != nil {
		t.Fatal(err)
	}
	answer := l.answer(t)
	if answer[0] != "ok" {
		return nil, false
	}
	options = map[string]string{}
	for pair := range slices.Chunk(answer[1:], 2) {
		options[pair[0]] = pair[1]
	}
	return options, true
}

// answer reads keywords, values or a verdict, up to the empty text in the place of one of them.
func (l *libpq) answer(t testing.TB) (texts []string) {
	t.Helper()
	for {
		text, err := l.out.ReadString(0)
		if err != nil {
			t.Fatalf("conninfo ended: %v", err)
		}
		text = text[:len(text)-1]
		isValue := len(texts) > 0 && texts[0] == "ok" && len(texts)%2 == 0
		if text == "" && !isValue {
			return texts
		}
		texts = append(texts, text)
	}
}

// compare holds what is true of every string, and tells what kind of string it is: refused by libpq, or one in which
// libpq's reading is not tight, or what agree says.
func (l *libpq) compare(t testing.TB, dsn string) (kind string) {
	t.Helper()
	options, ok := l.parse(t, dsn)
	if ok && l.tight(t, dsn, options) {
		return l.agree(t, dsn, options)
	}
	if d, err := urlfix.Parse(dsn); err == nil {
		l.checkCanonical(t, dsn, d)
	}
	if ok {
		return "not tight"
	}
	return "not libpq's"
}

// agree holds what is true of a strictly valid string, which means options to libpq: it keeps its meaning, above all
// its server. It returns "accepted", or the code with which the string is refused.
func (l *libpq) agree(t testing.TB, dsn string, options map[string]string) (kind string) {
	t.Helper()
	d, err := urlfix.Parse(dsn)
	if err != nil {
		checkReason(t, dsn, err)
		return string(code(err))
	}
	if !l.checkCanonical(t, dsn, d) {
		return "accepted"
	}
	canonical, _ := l.parse(t, d.URI())
	if want, got := settled(options), withServers(canonical); !maps.Equal(got, want) {
		t.Errorf("%q means %q to libpq, and %s means %q", dsn, want, d.URI(), got)
	}
	return "accepted"
}

// checkReason checks that a strictly valid string was refused for a reason that there is.
func checkReason(t testing.TB, dsn string, err error) {
	t.Helper()
	switch code(err) {
	case urlfix.CodeConflict, urlfix.CodeUnsupported, urlfix.CodeValue:
	case urlfix.CodeAmbiguous:
		if isURI(dsn) && !hasOtherReading(dsn) {
			t.Errorf("%q is strictly valid, has no other reading, and is refused: %v", dsn, err)
		}
	default:
		t.Errorf("%q is strictly valid, and refused as %s: %v", dsn, code(err), err)
	}
}

// hasOtherReading reports whether a URI may be read so that the authority ends before the "@", as RFC 3986 has it: at
// the first "?" or "#". The hosts must be some, and the parameters known; their values do not matter, because a string
// with a wrong one is no less likely to be meant in this way.
func hasOtherReading(dsn string) bool {
	end := strings.IndexAny(dsn, "?#")
	if end < 0 || strings.IndexByte(dsn[:end], '@') >= 0 {
		return false
	}
	if _, err := urlfix.Parse(dsn[:end]); err != nil {
		return false
	}
	if dsn[end] == '#' {
		return true
	}
	_, err := urlfix.Parse(strings.ReplaceAll(dsn, "@", "%40"))
	return err == nil || slices.Contains([]urlfix.Code{urlfix.CodeValue, urlfix.CodeConflict, urlfix.CodeUnsupported},
		code(err))
}

// checkCanonical checks that the canonical URI means to libpq what urlfix says it does. It reports whether this
// libpq knows all its keywords, and takes it.
func (l *libpq) checkCanonical(t testing.TB, dsn string, d *urlfix.DSN) (ok bool) {
	t.Helper()
	options, ok := l.parse(t, d.URI())
	for _, p := range d.Params {
		if !slices.Contains(l.keywords, p.Key) {
			return false // one of a newer libpq
		}
	}
	if !ok {
		t.Errorf("%q became %s, which libpq refuses", dsn, d.URI())
		return false
	}
	got := withServers(options)
	got["servers"] = strings.NewReplacer("PGHOST", "", "PGPORT", "5432").Replace(got["servers"])
	if want := meaning(d); !maps.Equal(got, want) {
		t.Errorf("%q became %s, which means %q to libpq, and %q to urlfix", dsn, d.URI(), got, want)
	}
	return true
}

// meaning is a DSN as options of libpq.
func meaning(d *urlfix.DSN) map[string]string {
	m := map[string]string{}
	for _, p := range d.Params {
		m[p.Key] = p.Value
	}
	for _, s := range d.Settings {
		escaped := strings.NewReplacer(`\`, `\\`, " ", `\ `, "\t", "\\\t", "\n", "\\\n", "\v", "\\\v", "\f", "\\\f", "\r",
			"\\\r").Replace(s.Value)
		m["options"] = strings.TrimPrefix(m["options"]+" -c "+s.Key+"="+escaped, " ")
	}
	for key, value := range map[string]string{
		"user": d.User, "password": d.Password.Reveal(), "dbname": d.Database, "sslpassword": d.SSLPassword.Reveal(),
	} {
		if value != "" {
			m[key] = value
		}
	}
	hosts := d.Hosts
	if len(hosts) == 0 {
		hosts = []urlfix.Host{{}}
	}
	var servers []string
	for _, h := range hosts {
		servers = append(servers, server(h.Name, strconv.Itoa(int(orDefault(h.Port)))))
	}
	m["servers"] = strings.Join(servers, " ")
	return m
}

func server(host, port string) string { return host + "|" + port }

// withServers returns options with "servers" in the place of host and port: the list that libpq makes of them, after
// pqConnectOptions2 (fe-connect.c). A host or port that is not given comes from the environment; one that is empty
// is the default.
func withServers(options map[string]string) map[string]string {
	out := maps.Clone(options)
	delete(out, "host")
	delete(out, "port")
	host, named := options["host"]
	port, numbered := options["port"]
	if !named && options["hostaddr"] == "" {
		host = "PGHOST"
	}
	if !named && options["hostaddr"] != "" {
		host = strings.Repeat(",", strings.Count(options["hostaddr"], ","))
	}
	if !numbered {
		port = "PGPORT"
	}
	hosts, ports := strings.Split(host, ","), strings.Split(port, ",")
	var servers []string
	for i, name := range hosts {
		number := strings.Trim(ports[min(i, len(ports)-1)], " ")
		if n, err := strconv.Atoi(number); err == nil {
			number = strconv.Itoa(n)
		}
		if number == "" {
			number = "5432"
		}
		servers = append(servers, server(name, number))
	}
	out["servers"] = strings.Join(servers, " ")
	return out
}

// settled is withServers for a strictly valid string, after all that urlfix may change in one.
func settled(options map[string]string) map[string]string {
	out := withServers(options)
	for key, value := range options {
		if slices.Contains(emptyIsUnset, key) && value == "" || slices.Contains(withDefault[key], value) {
			delete(out, key)
			continue
		}
		if slices.Contains(wholeNumbers, key) {
			n, _ := strconv.Atoi(strings.Trim(value, " "))
			if key == "connect_timeout" {
				n = max(n, 0)
			}
			out[key] = strconv.Itoa(n)
		}
		if strings.HasPrefix(key, "ssl_m") {
			out[key] = strings.Replace(strings.ToLower(value), "tls", "TLS", 1)
		}
	}
	delete(out, "sslcompression")
	delete(out, "fallback_application_name")
	if name, ok := options["fallback_application_name"]; ok {
		if _, ok := options["application_name"]; !ok {
			out["application_name"] = name
		}
	}
	if _, ok := options["sslmode"]; !ok && options["sslrootcert"] == "system" {
		out["sslmode"] = "verify-full"
	}
	return out
}

var (
	// emptyIsUnset are keywords whose empty value is left out.
	emptyIsUnset = strings.Fields(`user password dbname hostaddr passfile sslcert sslkey sslpassword sslrootcert sslcrl
		sslcrldir requirepeer require_auth krbsrvname ssl_min_protocol_version ssl_max_protocol_version`)
	// withDefault are values that are left out because nothing else is supported, or nothing else happens anyway.
	withDefault = map[string][]string{
		"gssencmode": {"disable", "prefer"}, "gssdelegation": {"0"}, "gsslib": {"gssapi"}, "client_encoding": {"auto"},
		"replication": {"false", "off", "no", "0"}, "load_balance_hosts": {"disable"},
	}
	// wholeNumbers are written without blanks, signs and zeros that mean nothing.
	wholeNumbers = strings.Fields("connect_timeout keepalives keepalives_idle keepalives_interval keepalives_count " +
		"tcp_user_timeout")
)

var hostName = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

// tight reports whether libpq's reading of a string is beyond doubt: hosts and ports are some, and no version of
// libpq reads it in another way.
func (l *libpq) tight(t testing.TB, dsn string, options map[string]string) bool {
	t.Helper()
	for _, text := range append(slices.Collect(maps.Values(options)), dsn) {
		if !utf8.ValidString(text) {
			return false
		}
	}
	if strings.ContainsFunc(dsn, control) {
		return false
	}
	if isURI(dsn) {
		return tightServers(options) && l.tightURI(t, dsn)
	}
	return tightServers(options) && tightKeywords(options)
}

// tightServers reports whether hosts and ports are some.
func tightServers(options map[string]string) bool {
	for host := range strings.SplitSeq(options["host"], ",") {
		addr, err := netip.ParseAddr(host)
		ipv6 := err == nil && addr.Is6()
		directory := strings.HasPrefix(host, "/") && !strings.ContainsFunc(host, control)
		if !hostName.MatchString(host) && !ipv6 && !directory {
			return false
		}
	}
	for port := range strings.SplitSeq(options["port"], ",") {
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return false
		}
	}
	return true
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

func isURI(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// tightURI looks for what is not in the options: a blank, which libpq decodes in another way since version 18, an "@"
// in the database that is raw, and hosts that the query's hosts replace.
func (l *libpq) tightURI(t testing.TB, dsn string) bool {
	t.Helper()
	authority, path := cutURI(dsn)
	options, ok := l.parse(t, authority)
	return ok && tightServers(options) && !strings.Contains(dsn, " ") && !strings.Contains(path, "@") &&
		strings.Count(authority, "@") < 2 // other tools take the last one for the end of the password
}

// cutURI cuts a URI where the hosts end, and the path where the query begins (conninfo_uri_parse_options).
func cutURI(dsn string) (authority, path string) {
	end := strings.Index(dsn, "://") + len("://")
	if i := strings.IndexAny(dsn[end:], "@/"); i >= 0 && dsn[end+i] == '@' {
		end += i + 1
	}
	if i := strings.IndexAny(dsn[end:], "/?"); i >= 0 {
		end += i
	} else {
		end = len(dsn)
	}
	path, _, _ = strings.Cut(dsn[end:], "?")
	return dsn[:end], path
}

// tightKeywords refuses values that would, without quotes, be other parameters, or other dialects.
func tightKeywords(options map[string]string) bool {
	for _, value := range options {
		if strings.ContainsAny(value, "=;") || strings.HasSuffix(value, ",") {
			return false
		}
	}
	return true
}

// tricky are strictly valid strings in which a rule shows that few strings need.
var tricky = []string{
	"postgres:///&password=x", "postgres:///d?host=h1:1,h2:2", "postgres://u:p@ss#w@h/d",
	"", " ", "postgres://", "postgresql:///", "postgres://@", "postgres://:@:/", "postgres://:pw@", "postgres://u@",
	"postgres://h?", "postgres://h/?", "postgres://h/d?application_name=x&", "postgres://h:/d", "postgres://,/d",
	"postgres://h,/d", "postgres://h1,h2:5433/d", "postgres://h1:5433,h2/d?port=5433", "postgres:///d?host=a,b&port=1,2",
	"postgres:///d?host=a,b&port=1", "postgres:///d?port=", "postgres:///d?host=", "postgres://h/d?host=h&user=u",
	"postgres://h/d?hostaddr=127.0.0.1", "postgres:///d?hostaddr=127.0.0.1,::1", "postgres://u:p@h/d?application_name=a@b",
	"postgres://u:a:b@h/d", "postgres://u:%2b+@h/d+e?application_name=+", "postgres://u:?x@h/d", "postgres://u:#x@h/d",
	"postgres://u:1#x@h/d", "postgres://u?user=x@h/d", "postgres://h?user=u&password=p@ssword", "postgres://h/a?dbname=b",
	"postgres://h/d?options=-c%20a.b%3D1", "postgres://[::1]", "postgres://[fe80::1%25lo]:1/d", "postgres://%2Ftmp:1/d",
	"postgres://h/d?ssl=true", "postgres://h/d?sslmode=require&ssl=true", "postgres://h/d?sslrootcert=system",
	"postgres://h/d?connect_timeout=-1&keepalives=+1", "postgres://h/d?replication=database",
	"postgres://h/d?gssencmode=require",
	`dbname=a\`, `dbname=a\\`, `dbname='a\'b'`, `dbname=a\ b`, `dbname = 'a b'user=u`, `user=u password=''`,
	"host=a,b port=1",
	"host='' port=''", "password=a;b user=u", "postgres://@@?host=", "postgres://?ssl=@", "postgres://?host=@", "host=h,",
	"host= user=u", "user=u\tdbname=d", "dbname=postgres://h",
}

func TestLibpqAgreesWithEveryCase(t *testing.T) {
	l := startLibpq(t)
	kinds := map[string]int{}
	for _, c := range readCases(t) {
		t.Run(c.ID, func(t *testing.T) { kinds[l.compare(t, c.DSN)]++ })
	}
	for _, dsn := range tricky {
		t.Run(dsn, func(t *testing.T) { kinds[l.compare(t, dsn)]++ })
	}
	t.Logf("%v", kinds)
	if kinds["accepted"] < 100 {
		t.Errorf("only %d strings are strictly valid and accepted", kinds["accepted"])
	}
}

func TestLibpqAgreesWithItself(t *testing.T) {
	l := startLibpq(t)
	for _, c := range []struct{ dsn, want string }{
		{"postgres://u:p%40@h1:1,[::1]/d?sslmode=require",
			`map["dbname":"d" "password":"p@" "servers":"h1|1 ::1|5432" "sslmode":"require" "user":"u"]`},
		{"postgres:///", `map["servers":"PGHOST|PGPORT"]`},
		{"host= ", `map["servers":"|PGPORT"]`},
		{"host=a,b port=''", `map["servers":"a|5432 b|5432"]`},
		{"application_name='' user=u", `map["application_name":"" "servers":"PGHOST|PGPORT" "user":"u"]`},
		{"postgres://h/?ssl=true", `map["servers":"h|PGPORT" "sslmode":"require"]`},
	} {
		t.Run(c.dsn, func(t *testing.T) {
			options, ok := l.parse(t, c.dsn)
			if got := fmt.Sprintf("%q", withServers(options)); !ok || got != c.want {
				t.Errorf("got  %s, %v\nwant %s", got, ok, c.want)
			}
		})
	}
	for _, dsn := range []string{"x", "postgres://h/?nosuch=x", "host=h ssl=true", "postgres://%zz/"} {
		t.Run("libpq refuses "+dsn, func(t *testing.T) {
			if options, ok := l.parse(t, dsn); ok {
				t.Errorf("got %q", options)
			}
		})
	}
}
