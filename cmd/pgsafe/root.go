package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// failure is an error of a command that was called in the right way. One without a text has been
// told already.
type failure struct{ err error }

func (f *failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// errFailed ends a command whose output has told what is wrong.
var errFailed error = &failure{}

// execute runs the command line args and returns the exit code. Whatever goes wrong is told on
// stderr.
func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	addCompletion(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var failed *failure
	if !errors.As(err, &failed) {
		fmt.Fprintf(stderr, "pgsafe: %v\nSee pgsafe --help.\n", err)
		return exitUsage
	}
	if failed.err != nil {
		fmt.Fprintf(stderr, "pgsafe: %v\n", strings.TrimPrefix(failed.Error(), "pgsafe: "))
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "pgsafe",
		Short: "Explain PostgreSQL connection strings, and check the way to a server",
		Long: `pgsafe explains PostgreSQL connection strings of any ecosystem, and checks whether they lead to a server that
works as it should.

Exit codes: 0 all is well, 1 something failed, 2 wrong usage.

A string on the command line can be seen by other users of the machine (ps) and stays in the shell's history.
Put it into the environment variable DATABASE_URL, or use "pgsafe dsn -", where that matters.`,
		Example: `  pgsafe dsn 'postgresql+psycopg2://app:p[ss@db:5432/orders?sslmode=require'
  DATABASE_URL=postgres://... pgsafe doctor
  pgsafe doctor --markdown > doctor.md`,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		Version:       versionLine(),

		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newDSNCommand(), newDoctorCommand(), newPostgresBinCommand(), newVersionCommand())
	return root
}

// addCompletion adds cobra's command completion, which writes to what root.SetOut was given.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" { // cobra's prints its help for a shell that it does not know
			cmd.Args, cmd.RunE = noShell, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

// noShell refuses the name of a shell for which there is no completion.
func noShell(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return errors.New("no completion for this shell; there is one for bash, fish, powershell and zsh")
}

// noCommand refuses what is no command. It does not repeat it: it may well be a connection string.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		return fmt.Errorf("no such command; did you mean %q?", s[0])
	}
	return errors.New("no such command; to look at a connection string: pgsafe dsn 'STRING', " +
		"to try it: pgsafe doctor 'STRING'")
}

// atMostOneString refuses more than one argument, and says what mostly is behind it.
func atMostOneString(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return errors.New("more than one connection string; put it in single quotes, " +
			"so that the shell leaves it in one piece")
	}
	return nil
}

// flagError leaves out what the user wrote as a flag or its value, which may be a connection string
// in a wrong place.
func flagError(cmd *cobra.Command, err error) error {
	var (
		value   *pflag.InvalidValueError
		missing *pflag.ValueRequiredError
	)
	switch {
	case errors.As(err, &value):
		return fmt.Errorf("--%s: not a valid value: %s", value.GetFlag().Name, value.GetFlag().Usage)
	case errors.As(err, &missing):
		return fmt.Errorf("--%s needs a value: %s", missing.GetFlag().Name, missing.GetFlag().Usage)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return fmt.Errorf("no such flag; there are %s", strings.Join(names, ", "))
}

// interruptible returns a context that ends with the first Ctrl-C or SIGTERM. The second one ends
// the process.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// sourceOf says where stringFrom found the string.
func sourceOf(args []string) string {
	dsn, set := os.LookupEnv("DATABASE_URL")
	switch {
	case len(args) > 0:
		return "the command line"
	case dsn != "":
		return "DATABASE_URL"
	case set:
		return "a server of its own: DATABASE_URL is set, and empty"
	}
	return "a server of its own: DATABASE_URL is not set"
}

// stringFrom returns the connection string of a command: its argument, else DATABASE_URL.
func stringFrom(args []string) (dsn string, found bool) {
	if len(args) > 0 {
		return args[0], true
	}
	dsn = os.Getenv("DATABASE_URL")
	return dsn, dsn != ""
}
