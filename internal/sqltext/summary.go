package sqltext

import "strings"

// summary puts a summary together. Once a word does not fit, nothing more is added.
type summary struct {
	text  strings.Builder
	first string // the first operation
	next  string // what goes before the next word
	full  bool
}

// operation adds an operation.
func (s *summary) operation(words string) {
	s.add(words)
	if s.first == "" && !s.full {
		s.first = words
	}
}

// add adds an operation or a target.
func (s *summary) add(words string) {
	before := ""
	if s.text.Len() > 0 {
		before = s.next
	}
	s.full = s.full || s.text.Len()+len(before)+len(words) > maxSummary
	if s.full {
		return
	}
	s.text.WriteString(before)
	s.text.WriteString(words)
	s.next = " "
}

// separate begins a new statement.
func (s *summary) separate() { s.next = "; " }

func (s *summary) String() string { return s.text.String() }
