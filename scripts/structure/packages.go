package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pkg is what `go list` says of a package.
type pkg struct {
	Dir, ImportPath, Name, Export string
	GoFiles, IgnoredGoFiles       []string
	Imports                       []string
	Module                        *struct{ Path string }

	exports map[string]string // of all packages that the module needs: import path to export data
}

// list returns the packages of the module in the current directory, programs left out.
func list() ([]*pkg, error) {
	cmd := exec.Command("go", "list", "-export", "-deps",
		"-json=Dir,ImportPath,Name,Export,GoFiles,IgnoredGoFiles,Imports,Module", "./...")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	main, err := exec.Command("go", "list", "-f", "{{.Module.Path}}", ".").Output()
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	var own []*pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := &pkg{exports: exports}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return own, nil
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Path == strings.TrimSpace(string(main)) && p.Name != "main" {
			own = append(own, p)
		}
	}
}

// name is the package's folder in the module, "." for the root.
func (p *pkg) name() string { return within(p.Module.Path, p.ImportPath) }

func within(module, path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// files are those for all systems, without tests.
func (p *pkg) files() []string {
	var files []string
	for _, f := range append(append([]string(nil), p.GoFiles...), p.IgnoredGoFiles...) {
		if !strings.HasSuffix(f, "_test.go") {
			files = append(files, f)
		}
	}
	return files
}

// lines counts all lines, and those with code.
func (p *pkg) lines() (all, code int, err error) {
	for _, name := range p.files() {
		src, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			return 0, 0, err
		}
		all += strings.Count(string(src), "\n")
		n, err := codeLines(src)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", name, err)
		}
		code += n
	}
	return all, code, nil
}

// codeLines counts the lines that hold a token, those inside a string of several lines included.
func codeLines(src []byte) (int, error) {
	set := token.NewFileSet()
	file := set.AddFile("", set.Base(), len(src))
	var s scanner.Scanner
	var errs scanner.ErrorList
	s.Init(file, src, errs.Add, 0) // comments are left out
	n, last := 0, 0
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			return n, errs.Err()
		}
		if tok == token.SEMICOLON && text == "\n" {
			continue // the scanner made it up
		}
		first := file.Line(pos)
		end := first + strings.Count(text, "\n")
		n += end - max(first-1, last)
		last = end
	}
}
