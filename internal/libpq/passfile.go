package libpq

import (
	"cmp"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// passfile is where passwords come from that nobody gave. It is read anew each time. All rules are those of
// passwordFromFile (fe-connect.c).
type passfile struct{ path string }

func passfileOf(k keywords) passfile {
	return passfile{cmp.Or(k.get("passfile"), inHome(passfileName))}
}

// password returns the password for a server: that of the first line that matches, "" if there is none.
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

// hostOf is what lines call a server: the default socket directory is "localhost".
func (passfile) hostOf(s server) string {
	if s.isSocket() && s.host == defaultHost() {
		return "localhost"
	}
	return s.host
}

// matchLine compares the fields of a line, and returns what is behind them: the password, which ends at a colon.
func matchLine(line string, fields []string) (password string, ok bool) {
	if strings.HasPrefix(line, "#") {
		return "", false
	}
	for _, want := range fields {
		field, rest, more := cutField(line)
		if !more || line[:len(line)-len(rest)] != "*:" && field != want {
			return "", false
		}
		line = rest
	}
	password, _, _ = cutField(line)
	return password, true
}

// cutField splits a line at the first colon that no backslash hides. A backslash stands for what follows it.
func cutField(line string) (field, rest string, more bool) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == ':':
			return b.String(), line[i+1:], true
		case line[i] == '\\' && i+1 < len(line):
			i++
		}
		b.WriteByte(line[i])
	}
	return b.String(), "", false
}
