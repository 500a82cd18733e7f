package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of pgsafe, pgx and Go",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

// versionLine is "pgsafe v1.2.3, pgx v5.12.0, go1.26.8 linux/amd64".
func versionLine() string {
	pgsafe, pgx := "(devel)", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			pgsafe = info.Main.Version
		}
		for _, d := range info.Deps {
			if d.Path == "github.com/jackc/pgx/v5" {
				pgx = d.Version
			}
		}
	}
	return fmt.Sprintf("pgsafe %s, pgx %s, %s %s/%s", pgsafe, pgx, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
