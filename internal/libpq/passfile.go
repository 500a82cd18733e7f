package libpq

import (
	"cmp"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// passfile is a password file. It is used if no other source gave a password, and is read again
// each time. All rules come from passwordFromFile (fe-connect.c).
type passfile struct{ path string }

func passfileOf(k keywords) passfile {
	return passfile{cmp.Or(k.get("passfile"), inHome(passfileName))}
}

// password returns the password for a server, from the first line that matches. It is "" if no line
// does.
func (p passfile) password(s server, user, database string) urlfix.Secret {
	if p.trouble() != "" {
		return urlfix.Secret{}
	}
	text, err := os.ReadFile(p.path)
	if err != nil {
		return urlfix.Secret{}
	}
	fields := [...]string{p.hostOf(s), strconv.Itoa(int(s.port)), cmp.Or(database, user), user}
	for line := range strings.Lines(string(text)) {
		if password, ok := matchLine(strings.TrimRight(line, "\r\n"), fields[:]); ok {
			return urlfix.NewSecret(password)
		}
	}
	return urlfix.Secret{}
}

// trouble says why the file is not to be used, "" if it may be.
func (p passfile) trouble() string {
	info, err := os.Stat(p.path)
	switch {
	case err != nil:
		return ""
	case !info.Mode().IsRegular():
		return "the password file is ignored: it is not a plain file"
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return "the password file is ignored: others than its owner have access to it; chmod 0600 helps"
	}
	return ""
}

// hostOf is what lines call a server: host before hostaddr (pqConnectOptions2, fe-connect.c), and
// the default socket directory is "localhost".
func (passfile) hostOf(s server) string {
	host := cmp.Or(s.dir, s.host)
	if isDirectory(host) && host == defaultHost() {
		return "localhost"
	}
	return host
}

// matchLine compares the fields of a line, and returns what is behind them: the password, which
// ends at a colon.
func matchLine(line string, fields []string) (password string, ok bool) {
	if strings.HasPrefix(line, "#") {
		return "", false
	}
	for _, want := range fields {
		if line, ok = matchField(line, want); !ok {
			return "", false
		}
	}
	return unescape(line), true
}

// matchField returns what is behind a line's first field, if that is want or "*". A colon that want
// has needs no backslash, which an IPv6 address is commonly written without (pwdfMatchesString,
// fe-connect.c).
func matchField(line, want string) (rest string, ok bool) {
	if rest, ok := strings.CutPrefix(line, "*:"); ok {
		return rest, true
	}
	for ; line != ""; line, want = line[1:], want[1:] {
		if line[0] == ':' && want == "" {
			return line[1:], true
		}
		if line[0] == '\\' && len(line) > 1 {
			line = line[1:]
		}
		if want == "" || line[0] != want[0] {
			return "", false
		}
	}
	return "", false
}

// unescape returns the text before the first colon that no backslash hides. A backslash stands for
// what follows it.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text) && text[i] != ':'; i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
