package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgsafe/pgsafe"
	"github.com/pgsafe/pgsafe/internal/urlfix"
)

type dsnOptions struct {
	dialect      string
	json         bool
	showPassword bool
}

func newDSNCommand() *cobra.Command {
	var o dsnOptions
	cmd := &cobra.Command{
		Use:   "dsn [STRING | -]",
		Short: "Explain a connection string",
		Long: `Explain a connection string: where it leads, as whom, with what parameters, what pgsafe changes so
that every libpq tool understands it, and what to check. Nothing is connected to.

The string is the argument, else the environment variable DATABASE_URL. With "-" each line of the standard input
is a string (empty lines are left out), and each gives one line: its number, "ok" or "error", and the canonical
string or the reason, with a tab between them; or one JSON object with --json. A bad string does not end the run.

The form of most strings shows the tool they were written for. --dialect names it for the others, such as a plain
postgres:// string of Prisma or node-postgres: one of ` + dialectNames() + `.

The password is shown as *** unless --show-password is given.

Fields of --json: ok; line (with "-"); dialect, hosts (name, port), user, database, has_password, uri (the canonical
string), params, settings, pool and driver (key, value), changes and warnings (part, text); or, if ok is false, error
(code, part, reason, hint, position, dialects; the position is a byte offset, -1 if there is none; dialects are those
that understand the string).

Exit codes: 0 understood, 1 at least one string was not, 2 wrong usage.`,
		Example: `  pgsafe dsn 'postgresql+psycopg2://app:p[ss@db:5432/orders?sslmode=require'
  DATABASE_URL=... pgsafe dsn --json
  pgsafe dsn --dialect prisma "$DATABASE_URL"
  pgsafe dsn - < strings.txt
  psql "$(pgsafe dsn --json --show-password "$OLD" | jq -r .uri)"`,
		Args: atMostOneString,
		RunE: func(cmd *cobra.Command, args []string) error {
			dsn, found := stringFrom(args)
			switch {
			case !slices.Contains(urlfix.Dialects(), o.dialect) && o.dialect != "":
				return errors.New("unknown dialect: --dialect is one of " + dialectNames())
			case !found:
				if _, set := os.LookupEnv("DATABASE_URL"); set {
					return errors.New("no connection string: DATABASE_URL is set, and empty")
				}
				return errors.New("no connection string: give one as argument, - for standard input, or set DATABASE_URL")
			case dsn == "-":
				return o.explainLines(cmd.InOrStdin(), cmd.OutOrStdout())
			}
			return o.explain(cmd.OutOrStdout(), dsn)
		},
	}
	cmd.Flags().StringVar(&o.dialect, "dialect", "", "the tool that the string was written for")
	_ = cmd.RegisterFlagCompletionFunc("dialect", // the flag exists
		cobra.FixedCompletions(urlfix.Dialects(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object per string")
	cmd.Flags().BoolVar(&o.showPassword, "show-password", false, "show the password in the canonical string")
	return cmd
}

// dialectNames lists the names that --dialect takes.
func dialectNames() string {
	return strings.Join(urlfix.Dialects(), ", ")
}

// explain writes all there is to tell about one string.
func (o dsnOptions) explain(w io.Writer, dsn string) error {
	m := o.meaningOf(dsn)
	var err error
	if o.json {
		err = json.NewEncoder(w).Encode(m)
	} else {
		_, err = io.WriteString(w, m.text())
	}
	if err != nil {
		return &failure{err}
	}
	if !m.OK {
		return errFailed
	}
	return nil
}

// explainLines writes one line for each line of r, as soon as it has been read.
func (o dsnOptions) explainLines(r io.Reader, w io.Writer) error {
	in, out := bufio.NewReader(r), bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	good := true
	for number := 1; ; number++ {
		line, readErr := in.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			m := o.meaningOf(line)
			m.Line = number
			good = good && m.OK
			var err error
			if o.json {
				err = enc.Encode(m)
			} else {
				_, err = out.WriteString(m.line())
			}
			if err == nil && in.Buffered() == 0 { // nothing more to read at once: the writer may be waiting
				err = out.Flush()
			}
			if err != nil {
				return &failure{err}
			}
		}
		if readErr != nil {
			err := out.Flush()
			if readErr != io.EOF {
				err = fmt.Errorf("read standard input: %w", readErr)
			}
			switch {
			case err != nil:
				return &failure{err}
			case !good:
				return errFailed
			}
			return nil
		}
	}
}

// meaning is what a connection string means, as --json tells it.
type meaning struct {
	OK   bool `json:"ok"`
	Line int  `json:"line,omitempty"` // of the standard input

	*pgsafe.Report           // nil if the string was not understood
	Error          *dsnError `json:"error,omitempty"`
}

type dsnError struct {
	Code     string `json:"code"`
	Part     string `json:"part"`
	Reason   string `json:"reason"`
	Hint     string `json:"hint,omitempty"`
	Position int    `json:"position"`
	// Dialects are those in which the string is understood.
	Dialects []string `json:"dialects,omitempty"`
}

// meaningOf holds the password only if it is to be shown, and then in URI.
func (o dsnOptions) meaningOf(dsn string) meaning {
	dialect := pgsafe.Dialect(o.dialect)
	report, err := dialect.Inspect(dsn)
	if err == nil && o.showPassword {
		report.URI, err = dialect.Normalize(dsn)
	}
	if err != nil {
		fault := newDSNError(err)
		for _, name := range urlfix.Dialects() {
			if _, err := pgsafe.Dialect(name).Inspect(dsn); err == nil {
				fault.Dialects = append(fault.Dialects, name)
			}
		}
		return meaning{Error: fault}
	}
	return meaning{OK: true, Report: report}
}

func newDSNError(err error) *dsnError {
	var e *pgsafe.DSNError
	if !errors.As(err, &e) {
		return &dsnError{Code: "other", Reason: "not understood", Position: -1}
	}
	return &dsnError{Code: string(e.Code), Part: e.Part, Reason: e.Reason, Hint: e.Hint, Position: e.Pos}
}

// line is the meaning on one line, for a string of the standard input.
func (m meaning) line() string {
	if m.OK {
		return fmt.Sprintf("%d\tok\t%s\n", m.Line, m.URI)
	}
	return fmt.Sprintf("%d\terror\t%s\n", m.Line, m.Error.text())
}

func (e *dsnError) text() string {
	text := e.Part + ": " + e.Reason
	if e.Position >= 0 {
		text += " (at byte " + strconv.Itoa(e.Position) + ")"
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return printable(text)
}

// text is the meaning for humans: a name and a value on each line.
func (m meaning) text() string {
	var rows rows
	if !m.OK {
		rows.add("error", m.Error.Reason)
		rows.add("code", m.Error.Code)
		rows.add("part", m.Error.Part)
		if m.Error.Position >= 0 {
			rows.add("position", "byte "+strconv.Itoa(m.Error.Position))
		}
		rows.add("hint", m.Error.Hint)
		if len(m.Error.Dialects) > 0 {
			rows.add("dialects", "accepted with --dialect "+strings.Join(m.Error.Dialects, ", "))
		}
		return rows.String()
	}
	rows.add("dialect", m.Dialect)
	for _, h := range m.Hosts {
		rows.add("host", hostText(h))
	}
	if len(m.Hosts) == 0 {
		rows.add("host", "(libpq's default: PGHOST, else the local socket)")
	}
	rows.add("user", cmp.Or(m.User, "(libpq's default: PGUSER, else the name of the system's user)"))
	rows.add("password", map[bool]string{true: "given", false: "none given"}[m.HasPassword])
	rows.add("database", cmp.Or(m.Database, "(libpq's default: PGDATABASE, else the user)"))
	for _, group := range []struct {
		name   string
		params []pgsafe.ReportParam
	}{{"parameter", m.Params}, {"setting", m.Settings}, {"pool", m.Pool}, {"driver", m.Driver}} {
		for _, p := range group.params {
			rows.add(group.name, p.Key+"="+p.Value)
		}
	}
	rows.add("tls", tlsText(m.Report))
	rows.add("canonical", m.URI)
	for _, n := range m.Changes {
		rows.add("changed", n.Part+": "+n.Text)
	}
	for _, n := range m.Warnings {
		rows.add("warning", n.Part+": "+n.Text)
	}
	return rows.String()
}

// tlsText says in words what sslmode means for the connection.
func tlsText(r *pgsafe.Report) string {
	mode, root := "", false
	for _, p := range r.Params {
		switch p.Key {
		case "sslmode":
			mode = p.Value
		case "sslrootcert":
			root = true
		}
	}
	switch {
	case mode == "disable":
		return "not encrypted"
	case mode == "allow":
		return "not encrypted, unless the server insists; its certificate is not checked"
	case mode == "verify-full":
		return "encrypted, the server's certificate and its name are checked"
	case mode == "verify-ca" || mode == "require" && root:
		return "encrypted, the server's certificate is checked, and its name is not"
	case mode == "require":
		return "encrypted, the server's certificate is not checked"
	case mode == "":
		mode = "prefer, unless PGSSLMODE says otherwise"
	}
	return "encrypted if the server offers it, the server's certificate is not checked (" + mode + ")"
}

func hostText(h pgsafe.ReportHost) string {
	switch {
	case h.Name == "" && h.Port == 0:
		return "(default)"
	case h.Name == "":
		return "(default), port " + strconv.Itoa(int(h.Port))
	case h.Port == 0:
		return h.Name
	}
	return net.JoinHostPort(h.Name, strconv.Itoa(int(h.Port)))
}

// rows are aligned lines of a name and a value.
type rows struct{ strings.Builder }

// add leaves out what has no value.
func (r *rows) add(name, value string) {
	if value != "" {
		fmt.Fprintf(r, "%-11s%s\n", name, printable(value))
	}
}
