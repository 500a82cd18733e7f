package urlfix_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// outcome is what a connection string means, in libpq's words.
type outcome struct {
	Host     []string          `json:"host"`
	Port     []uint16          `json:"port"`
	User     string            `json:"user"`
	Password string            `json:"password"`
	DBName   string            `json:"dbname"`
	Params   map[string]string `json:"params"`
}

// dsnCase is a string taken from a tool's documentation, tests or bug reports, or made up, with what the tool itself
// makes of it.
type dsnCase struct {
	ID     string            `json:"id"`
	DSN    string            `json:"dsn"`
	Expect *outcome          `json:"expect"`
	Error  string            `json:"error"` // why it must be refused, or "ambiguous"
	Alt    []json.RawMessage `json:"alt"`   // further outcomes that are fine: "error", or an outcome
	Drop   []string          `json:"drop"`  // keys that must not reach the server
	Files  []string          `json:"files"` // files the string names
}

func readCases(t testing.TB) []dsnCase {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []dsnCase
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var c dsnCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	return cases
}

// wanted returns the outcomes that are right, and whether refusing is.
func (c dsnCase) wanted(t *testing.T) (outcomes []outcome, refuse bool) {
	t.Helper()
	if c.Expect != nil {
		outcomes = append(outcomes, *c.Expect)
	}
	refuse = c.Error != ""
	for _, raw := range c.Alt {
		if string(raw) == `"error"` {
			refuse = true
			continue
		}
		var o outcome
		if err := json.Unmarshal(raw, &o); err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, refuse
}

func TestCasesOfTheToolsThemselves(t *testing.T) {
	for _, c := range readCases(t) {
		t.Run(c.ID, func(t *testing.T) {
			outcomes, refuse := c.wanted(t)
			d, err := urlfix.Parse(c.DSN)
			if err != nil {
				if !refuse {
					t.Fatalf("refused: %v", err)
				}
				if c.Error == "ambiguous" && code(err) != urlfix.CodeAmbiguous {
					t.Errorf("refused as %s, want ambiguous: %v", code(err), err)
				}
				return
			}
			var different []string
			for _, want := range outcomes {
				diff := want.differs(d)
				if diff == "" {
					checkDropped(t, d, c.Drop)
					return
				}
				different = append(different, diff)
			}
			t.Fatalf("accepted as %v, want %s", d, strings.Join(different, " or "))
		})
	}
}

// differs says where d is not the outcome, or "". A host or port that is not given is libpq's default.
func (o outcome) differs(d *urlfix.DSN) string {
	var hosts []string
	var ports []uint16
	for _, h := range d.Hosts {
		hosts = append(hosts, h.Name)
		ports = append(ports, orDefault(h.Port))
	}
	if len(o.Host) == 0 {
		o.Host = []string{""}
	}
	if len(hosts) == 0 {
		hosts, ports = []string{""}, []uint16{5432}
	}
	for len(o.Port) < len(o.Host) {
		o.Port = append(o.Port, 5432)
	}
	switch {
	case !slices.Equal(hosts, o.Host):
		return fmt.Sprintf("hosts %q", o.Host)
	case !slices.Equal(ports, o.Port):
		return fmt.Sprintf("ports %d", o.Port)
	case d.User != o.User:
		return fmt.Sprintf("user %q", o.User)
	case d.Password.Reveal() != o.Password:
		return fmt.Sprintf("password %q", o.Password)
	case d.Database != o.DBName:
		return fmt.Sprintf("database %q", o.DBName)
	}
	return o.paramsDiffer(d)
}

// withoutEffect are keywords that are right to leave out.
var withoutEffect = []string{"sslcompression", "gssencmode"}

func (o outcome) paramsDiffer(d *urlfix.DSN) string {
	got := map[string]string{}
	for _, p := range slices.Concat(d.Params, d.Settings) {
		got[p.Key] = p.Value
	}
	for key, value := range o.Params {
		if got[key] != value && !slices.Contains(withoutEffect, key) {
			return fmt.Sprintf("%s=%q", key, value)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		return fmt.Sprintf("none of %q", got)
	}
	return ""
}

func orDefault(port uint16) uint16 {
	if port == 0 {
		return 5432
	}
	return port
}

func checkDropped(t *testing.T, d *urlfix.DSN, keys []string) {
	t.Helper()
	for _, p := range slices.Concat(d.Params, d.Settings) {
		if slices.Contains(keys, p.Key) {
			t.Errorf("%s would reach the server", p.Key)
		}
	}
}
