package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgsafe/pgsafe"
)

// defaultTimeout bounds a whole run of the doctor.
const defaultTimeout = 60 * time.Second

type doctorOptions struct {
	json, markdown bool
	timeout        time.Duration
	fetch          fetchOptions
}

func newDoctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor [STRING]",
		Short: "Connect for real and check that all works as it should",
		Long: `Connect for real and check that all works as it should: the string, the server, TLS, authentication,
how long it takes to connect, the pool against the server's limits, rollback, cancellation, and that errors show no
secret.

It is fit for a database in production. It writes nothing that stays: a table is made in a transaction that is
rolled back. It has at most 10 connections open at a time, with the application_name "` + applicationName + `".
It makes one attempt with a wrong password and one with an unknown database, which the server may log.

The string is the argument, else the environment variable DATABASE_URL. Without either a PostgreSQL server of its
own is started for as long as the checks run, with TLS, SCRAM and a password that other drivers do not survive in
a connection string. See "pgsafe postgres-bin --help" for where its programs come from.

Each check is "ok", "warning" (it works, have a look), "failed", or "skipped" (it cannot run here; the reason is given).

Fields of --json: status (ok, warning or failed), dialect, uri (without secrets), embedded, source, seconds, count (ok, warning,
failed, skipped) and checks (id, title, status, detail, notes, seconds, timings: what, count, min_ms, mean_ms, max_ms).
The ids of the checks do not change.

Exit codes: 0 nothing failed, 1 something did, 2 wrong usage.`,
		Example: `  pgsafe doctor
  pgsafe doctor 'postgres://app@db.example.com/orders?sslmode=verify-full&sslrootcert=ca.pem'
  DATABASE_URL=... pgsafe doctor --markdown
  DATABASE_URL=... pgsafe doctor --json | jq '.checks[] | select(.status == "failed")'`,
		Args: atMostOneString,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.json && o.markdown {
				return errors.New("--json and --markdown exclude each other")
			}
			if o.timeout <= 0 {
				return errors.New("--timeout must be more than zero")
			}
			return o.run(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print the report as a JSON object")
	cmd.Flags().BoolVar(&o.markdown, "markdown", false, "print the report as Markdown, for an issue")
	cmd.Flags().DurationVar(&o.timeout, "timeout", defaultTimeout, "time for all of it, as 30s or 2m")
	o.fetch.addFlags(cmd)
	return cmd
}

// errTimeout is the cause of the end of a run that took too long.
var errTimeout = errors.New("the time of --timeout was over")

// errInterrupted is what Ctrl-C amounts to.
var errInterrupted = errors.New("interrupted")

func (o doctorOptions) run(cmd *cobra.Command, args []string) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, errTimeout)
	defer cancel()

	progress := newProgress(cmd.ErrOrStderr())
	defer progress.clear()
	began := time.Now()
	dsn, found := stringFrom(args)
	if !found {
		server, err := startEmbedded(ctx, o.fetch, progress)
		if err != nil {
			return &failure{explainEnd(ctx, err)}
		}
		defer server.close()
		dsn = server.dsn
	}
	report := diagnose(ctx, dsn, progress)
	report.Embedded, report.Source = !found, sourceOf(args)
	report.Seconds = rounded(time.Since(began), time.Second)
	progress.clear()
	if err := o.write(cmd.OutOrStdout(), report); err != nil {
		return &failure{err}
	}
	if report.Status == StatusFailed {
		return errFailed
	}
	return nil
}

func (o doctorOptions) write(w io.Writer, r *Report) error {
	switch {
	case o.json:
		return r.writeJSON(w)
	case o.markdown:
		return r.writeMarkdown(w)
	}
	return r.writeText(w, styleOf(w))
}

// explainEnd says why a run ended before its end, if that is what err comes from.
func explainEnd(ctx context.Context, err error) error {
	switch {
	case ctx.Err() == nil:
		return err
	case errors.Is(context.Cause(ctx), errTimeout):
		return errTimeout
	}
	return errInterrupted
}

// checks are all that the doctor asks, in order.
func checks() []check {
	return []check{
		{"string", "connection string", "", checkString},
		{"server", "server", "string", checkServer},
		{"tls", "TLS", "server", checkTLS},
		{"authentication", "authentication", "server", checkAuthentication},
		{"one_by_one", "10 one by one", "server", checkOneByOne},
		{"at_once", "10 at once", "server", checkAtOnce},
		{"pool", "pool and limits", "server", checkPool},
		{"rollback", "rollback", "server", checkRollback},
		{"cancel", "cancellation", "rollback", checkCancel},
		{"wrong_password", "wrong password", "server", checkWrongPassword},
		{"unknown_database", "unknown database", "server", checkUnknownDatabase},
		{"closed_port", "closed port", "string", checkClosedPort},
	}
}

// diagnose runs all checks against dsn. Those that depend on one that brought nothing are skipped,
// and so is what is left when ctx ends.
func diagnose(ctx context.Context, dsn string, progress *progress) *Report {
	p := &patient{dsn: dsn}
	report := newReport()
	all := checks()
	for i, c := range all {
		progress.step(i+1, len(all), c.title)
		began := time.Now()
		r, run := report.obstacle(ctx, c), false
		if r.Status == "" {
			r, run = c.run(ctx, p), true
		}
		if run && ctx.Err() != nil && r.Status != StatusOK {
			r.Status, r.Detail, r.Notes = StatusFailed, explainEnd(ctx, nil).Error(), nil
		}
		report.add(c, r, time.Since(began))
	}
	if p.report != nil {
		report.Dialect, report.URI = p.report.Dialect, p.report.URI
	} else {
		report.URI = pgsafe.Redact(dsn)
	}
	return report
}

// obstacle is the reason why a check makes no sense any more, or an empty Result.
func (r *Report) obstacle(ctx context.Context, c check) Result {
	switch {
	case ctx.Err() != nil && r.Status != StatusFailed:
		return failed("%v", explainEnd(ctx, nil))
	case ctx.Err() != nil:
		return skipped("not run: %v", explainEnd(ctx, nil))
	}
	for _, done := range r.Checks {
		switch {
		case done.ID != c.needs:
		case done.Status == StatusFailed:
			return skipped("not run: the check %q failed", done.Title)
		case done.Status == StatusSkipped:
			return skipped("not run: the check %q was skipped", done.Title)
		}
	}
	return Result{}
}

// count is how many checks came to each status.
type count struct {
	OK      int `json:"ok"`
	Warning int `json:"warning"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

func (c count) String() string {
	return fmt.Sprintf("%d ok, %d warning, %d failed, %d skipped", c.OK, c.Warning, c.Failed, c.Skipped)
}
