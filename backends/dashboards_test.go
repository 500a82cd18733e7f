package backends

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// The files that the guide offers to users.
const (
	dashboardFile  = "../docs/dashboards/pgsafe.json"
	rulesDir       = "../docs/dashboards"
	rulesFile      = rulesDir + "/rules.yml"
	rulesTestsFile = "rules_test.yml"
)

// promtoolEnv names Prometheus' promtool. Where it is set, the tests of the rules are not left out.
const promtoolEnv = "PGSAFE_PROMTOOL"

func TestRules(t *testing.T) {
	program := os.Getenv(promtoolEnv)
	if program == "" {
		found, err := exec.LookPath("promtool")
		if errors.Is(err, exec.ErrNotFound) {
			t.Skip("to test the rules, install promtool (Debian has it in the package prometheus), or name it in " + promtoolEnv)
		}
		check.OK(t, err)
		program = found
	}
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", rulesTestsFile}} {
		t.Run("promtool is content with "+args[2], func(t *testing.T) {
			cmd := exec.Command(program, args...)
			cmd.Dir = rulesDir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	t.Run("each alert has a test in which it fires", func(t *testing.T) {
		tests, err := os.ReadFile(rulesDir + "/" + rulesTestsFile)
		check.OK(t, err)
		for _, alert := range alerts(t) {
			if !regexp.MustCompile(`alertname: ` + alert + `\n\s+exp_alerts:\n`).Match(tests) {
				t.Errorf("%s has none", alert)
			}
		}
	})
}

func TestDashboardsAskForMetricsThatTheGuideLists(t *testing.T) {
	known := instruments(t)
	for _, q := range slices.Concat(dashboardQueries(t), ruleQueries(t)) {
		t.Run(q.name, func(t *testing.T) {
			for _, name := range q.metrics() {
				if _, there := known[name]; !there {
					t.Errorf("%s is not in the guide", name)
				}
			}
		})
	}
}

// question is a query in PromQL.
type question struct{ name, promQL string }

// metricName fits names of metrics, and of no function, label or recording rule.
var metricName = regexp.MustCompile(`\b(?:pgsafe|db_client)_[a-z_]+\b`)

// labels fits what is no metric: selectors, groupings and matchings.
var labels = regexp.MustCompile(`\{[^}]*\}|\b(?:by|on|without|ignoring) \([^)]*\)`)

// metrics returns the names of the metrics in the query, as the guide has them.
func (q question) metrics() []string {
	names := metricName.FindAllString(labels.ReplaceAllString(q.promQL, ""), -1)
	for i, name := range names {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && name != "db_client_connection_count" {
				names[i] = base
			}
		}
	}
	return names
}

// dashboardQueries are the queries of the dashboard's panels, with what Grafana puts in for its
// variables.
func dashboardQueries(t *testing.T) []question {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	check.OK(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, RefID string }
		}
	}
	check.OK(t, json.Unmarshal(text, &dashboard))
	fill := strings.NewReplacer("$job", ".*", "$pool", ".*", "$__rate_interval", "1m")
	var all []question
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			q := question{"the panel " + p.Title + ", query " + target.RefID, fill.Replace(target.Expr)}
			if strings.Contains(q.promQL, "$") {
				t.Errorf("%s has a variable that the test does not know: %s", q.name, q.promQL)
			}
			all = append(all, q)
		}
	}
	check.Equal(t, len(all) > 20, true)
	return all
}

// rule fits the name and the query of a rule. A query is one line, or folded ones.
var rule = regexp.MustCompile(`- (?:alert|record): (\S+)\n +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)`)

// ruleQueries are the queries of the alerting and recording rules.
func ruleQueries(t *testing.T) []question {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	check.OK(t, err)
	var all []question
	for _, r := range rule.FindAllStringSubmatch(string(text), -1) {
		all = append(all, question{"the rule " + r[1], strings.Join(strings.Fields(r[2]+r[3]), " ")})
	}
	check.Equal(t, len(all), strings.Count(string(text), "expr:"))
	return all
}

// alerts are the names of the alerting rules.
func alerts(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	check.OK(t, err)
	var names []string
	for _, m := range regexp.MustCompile(`- alert: (\S+)`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	return names
}
