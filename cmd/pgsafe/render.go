package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// style is how text output looks: plain and of any width, unless it goes to a terminal.
type style struct {
	width int // 0 is unlimited
	color bool
}

// minWidth is the narrowest terminal for which lines are wrapped.
const minWidth = 40

// styleOf honours NO_COLOR (no-color.org).
func styleOf(w io.Writer) style {
	fd, terminal := terminalOf(w)
	if !terminal {
		return style{}
	}
	s := style{color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(fd); err == nil && width >= minWidth {
		s.width = width
	}
	return s
}

func terminalOf(w io.Writer) (fd int, terminal bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// The colours of the terminal (ECMA-48, SGR).
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s style) paint(sgr, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (s style) status(status Status) string {
	sgr := map[Status]string{StatusOK: green, StatusWarning: yellow, StatusFailed: red, StatusSkipped: faint}[status]
	return s.paint(sgr, string(status))
}

// writeText writes the report for humans.
func (r *Report) writeText(w io.Writer, s style) error {
	var b strings.Builder
	b.WriteString(s.paint(bold, "pgsafe doctor"))
	if r.Embedded {
		b.WriteString(", on a PostgreSQL server of its own")
	}
	b.WriteString("\n" + indent(s.uri(r.URI)) + "\n" + indent("string from "+r.Source) + "\n\n")
	b.WriteString(r.checksTable(s).Render() + "\n\n")
	if t, some := r.timesTable(); some {
		b.WriteString(t.Render() + "\n\n")
	}
	fmt.Fprintf(&b, "%s: %s, in %.1f s\n", s.status(r.Status), r.Count, r.Seconds)
	_, err := io.WriteString(w, trimLines(b.String()))
	return err
}

// uri breaks a string that is too long for a line where its parts begin.
func (s style) uri(uri string) string {
	room := s.width - len(margin)
	if s.width == 0 || len(uri) <= room {
		return uri
	}
	var lines []string
	line := ""
	for _, part := range strings.SplitAfter(strings.NewReplacer("@", "@\n", "?", "\n?", "&", "\n&").Replace(uri), "\n") {
		part = strings.TrimSuffix(part, "\n")
		if line != "" && len(line)+len(part) > room {
			lines = append(lines, line)
			line = ""
		}
		line += part
	}
	return strings.Join(append(lines, line), "\n")
}

const margin = "  "

func indent(lines string) string { return margin + strings.ReplaceAll(lines, "\n", "\n"+margin) }

// trimLines takes off the blanks that fill up the last column.
func trimLines(lines string) string {
	all := strings.Split(lines, "\n")
	for i := range all {
		all[i] = strings.TrimRight(all[i], " ")
	}
	return strings.Join(all, "\n")
}

// columns is a table without lines.
func columns(header table.Row) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(header)
	t.SetStyle(table.Style{
		Name:    "columns",
		Box:     table.BoxStyle{PaddingRight: margin},
		Format:  table.FormatOptions{Header: text.FormatDefault},
		Options: table.OptionsNoBordersAndSeparators,
	})
	return t
}

func (r *Report) checksTable(s style) table.Writer {
	head := func(title string) string { return s.paint(bold, title) }
	t := columns(table.Row{head("Check"), head("Status"), head("Finding")})
	first := 0
	for _, c := range r.Checks {
		first = max(first, len(c.Title))
	}
	finding := 0
	if s.width > 0 {
		finding = s.width - first - len(StatusSkipped) - 3*len(margin)
	}
	for _, c := range r.Checks {
		lines := append([]string{c.Detail}, c.Notes...)
		for i, line := range lines {
			if finding > 0 {
				lines[i] = wrap(line, finding)
			}
			if i > 0 {
				lines[i] = s.faint(lines[i])
			}
		}
		t.AppendRow(table.Row{c.Title, s.status(c.Status), strings.Join(lines, "\n")})
	}
	return t
}

// faint paints each line by itself, since the table pads them.
func (s style) faint(lines string) string {
	all := strings.Split(lines, "\n")
	for i := range all {
		all[i] = s.paint(faint, all[i])
	}
	return strings.Join(all, "\n")
}

// wrap breaks text between words, and a word only if it is longer than a line.
func wrap(line string, width int) string {
	lines := strings.Split(text.WrapSoft(line, width), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// timesTable sums up what was timed; it reports false if nothing was.
func (r *Report) timesTable() (t table.Writer, some bool) {
	t = columns(table.Row{"Time to", "count", "min", "mean", "max"})
	var right []table.ColumnConfig
	for n := 2; n <= 5; n++ {
		right = append(right, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(right)
	for _, c := range r.Checks {
		if m := c.Timings; m != nil {
			t.AppendRow(table.Row{m.What, m.Count, shortly(m.least), shortly(m.mean), shortly(m.most)})
			some = true
		}
	}
	return t, some
}

// writeMarkdown writes the report for an issue.
func (r *Report) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "**pgsafe doctor: %s** (%s, in %.1f s)\n\n", r.Status, r.Count, r.Seconds)
	fmt.Fprintf(&b, "`%s`\n\nThe string is from %s.\n\n", strings.ReplaceAll(r.URI, "`", "%60"), r.Source)
	t := table.NewWriter()
	t.AppendHeader(table.Row{"Check", "Status", "Finding"})
	for _, c := range r.Checks {
		t.AppendRow(table.Row{c.Title, string(c.Status), strings.Join(append([]string{c.Detail}, c.Notes...), "\n")})
	}
	b.WriteString(t.RenderMarkdown() + "\n\n")
	if t, some := r.timesTable(); some {
		b.WriteString(t.RenderMarkdown() + "\n\n")
	}
	fmt.Fprintf(&b, "%s\n", versionLine())
	_, err := io.WriteString(w, b.String())
	return err
}
