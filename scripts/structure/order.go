package main

import (
	"maps"
	"slices"
)

// backwards returns how many arrows point from a later file to an earlier one, in an order of the
// files that makes them few. It is the heuristic of Eades, Lin and Smyth, "A fast and effective
// heuristic for the feedback arc set problem" (1993): there may be an order with fewer.
func backwards(uses map[string]map[string]bool) int {
	left := map[string]bool{}
	for from, targets := range uses {
		left[from] = true
		for to := range targets {
			left[to] = true
		}
	}
	var first, last []string // last is in reverse
	for len(left) > 0 {
		file, in, out := next(uses, left)
		delete(left, file)
		if out == 0 && in > 0 {
			last = append(last, file)
		} else {
			first = append(first, file)
		}
	}
	slices.Reverse(last)
	place := map[string]int{}
	for i, file := range append(first, last...) {
		place[file] = i
	}
	n := 0
	for from, targets := range uses {
		for to := range targets {
			if place[to] < place[from] {
				n++
			}
		}
	}
	return n
}

// next returns a file that uses none of those left, else one that none of them uses, else the one
// with the most arrows out for each arrow in; and the numbers of its arrows.
func next(uses map[string]map[string]bool, left map[string]bool) (file string, in, out int) {
	best := 0
	for _, f := range slices.Sorted(maps.Keys(left)) { // in a fixed order, for the same number each time
		fin, fout := 0, 0
		for other := range left {
			if uses[other][f] {
				fin++
			}
			if uses[f][other] {
				fout++
			}
		}
		score := fout - fin
		switch {
		case fout == 0:
			score = 2 * len(left)
		case fin == 0:
			score = len(left)
		}
		if file == "" || score > best {
			file, best, in, out = f, score, fin, fout
		}
	}
	return file, in, out
}
