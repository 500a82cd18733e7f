package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// progress shows on a terminal what is going on, on one line that goes away. Elsewhere it shows
// nothing but what takes really long.
type progress struct {
	w     io.Writer
	width int // 0 if w is no terminal
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if fd, terminal := terminalOf(w); terminal && os.Getenv("TERM") != "dumb" {
		p.width = 80
		if width, _, err := term.GetSize(fd); err == nil && width > 0 {
			p.width = width
		}
	}
	return p
}

// step shows the n-th of so many steps.
func (p *progress) step(n, of int, title string) {
	p.show(fmt.Sprintf("[%2d/%d] %s ...", n, of, title))
}

func (p *progress) show(text string) {
	if p.width > 0 {
		fmt.Fprintf(p.w, "\r\x1b[K%.*s", p.width-1, printable(text))
	}
}

// announce shows what takes so long that it is told on a line of its own where there is no
// terminal.
func (p *progress) announce(text string) {
	if p.width == 0 {
		fmt.Fprintln(p.w, printable(text))
		return
	}
	p.show(text)
}

func (p *progress) clear() {
	if p.width > 0 {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
