package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
)

// shape counts how a package's files use each other.
type shape struct{ arrows, backwards, mutual, cyclicFiles, cyclicArrows int }

func measure(p *pkg) (shape, error) {
	uses, err := fileUses(p)
	if err != nil {
		return shape{}, fmt.Errorf("%s: %w", p.name(), err)
	}
	reach := map[string]map[string]bool{}
	for file := range uses {
		reach[file] = reachable(uses, file)
	}
	s := shape{backwards: backwards(uses)}
	for from, targets := range uses {
		if reach[from][from] {
			s.cyclicFiles++
		}
		for to := range targets {
			s.arrows++
			if uses[to][from] && from < to {
				s.mutual++
			}
			if reach[to][from] {
				s.cyclicArrows++
			}
		}
	}
	return s, nil
}

// reachable returns the files that a file uses, by itself or through others.
func reachable(uses map[string]map[string]bool, file string) map[string]bool {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(f string) {
		for to := range uses[f] {
			if !seen[to] {
				seen[to] = true
				visit(to)
			}
		}
	}
	visit(file)
	return seen
}

// fileUses returns which other files of its package each file uses.
func fileUses(p *pkg) (map[string]map[string]bool, error) {
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(p.exports[path])
	})}
	this, err := config.Check(p.ImportPath, set, files, info)
	if err != nil {
		return nil, err
	}
	uses := map[string]map[string]bool{}
	for ident, object := range info.Uses {
		if object.Pkg() != this || !object.Pos().IsValid() {
			continue
		}
		from, to := set.Position(ident.Pos()).Filename, set.Position(object.Pos()).Filename
		if from == to {
			continue
		}
		if uses[from] == nil {
			uses[from] = map[string]bool{}
		}
		uses[from][to] = true
	}
	return uses, nil
}
