// Structure prints the shape of the library's source, tests left out:
//
//	go run ./scripts/structure
//
// For each package it prints the lines of its files, with and without comments and blank lines, for
// all systems; then how its files use each other on this system. A file uses another if it names
// something that the other declares: a function, type, variable, constant, method or field.
//
//	arrows     pairs of a file and a file it uses
//	backwards  arrows against the order of files that has the fewest, as far as a heuristic finds it
//	mutual     pairs of files that use each other
//	in cycles  files that use themselves through others; arrows from whose end a way leads back
//
// Imports "run backwards" from a lower layer to a higher one; layers.go has the layers. The last
// line is the number of exported names of the root package, by `go doc -short`.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
)

// corePackages are the way of a statement, from the application to the server. Together they have a
// limit of lines.
var corePackages = []string{
	".", "session", "internal/scope", "internal/pool", "internal/serverconn", "internal/connect",
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "structure:", err)
		os.Exit(1)
	}
}

func run() error {
	packages, err := list()
	if err != nil {
		return err
	}
	names, err := exported()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "package\tfiles\tlines\tcode\tarrows\tbackwards\tmutual\tfiles in cycles\tarrows in cycles\t")
	var all, code, core int
	for _, p := range packages {
		s, err := measure(p)
		if err != nil {
			return err
		}
		lines, codeLines, err := p.lines()
		if err != nil {
			return err
		}
		all, code = all+lines, code+codeLines
		if slices.Contains(corePackages, p.name()) {
			core += lines
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n",
			p.name(), len(p.files()), lines, codeLines, s.arrows, s.backwards, s.mutual, s.cyclicFiles, s.cyclicArrows)
	}
	fmt.Fprintf(table, "all\t\t%d\t%d\t\t\t\t\t\t\n", all, code)
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Printf("\nlines of %s: %d\n", strings.Join(corePackages, ", "), core)
	printImports(packages)
	fmt.Printf("\nexported names of the root package: %d\n", names)
	return nil
}

// exported counts what `go doc -short` lists.
func exported() (int, error) {
	out, err := exec.Command("go", "doc", "-short", ".").Output()
	return strings.Count(string(out), "\n"), err
}
