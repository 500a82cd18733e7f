package pgserver

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"sync"
)

// logLimit is how much of a server's log is kept.
const logLimit = 1 << 20

// serverLog keeps the end of what a server wrote and tells watchers of lines as they come.
type serverLog struct {
	onLine func(string) // called by the goroutine in read only

	mu       sync.Mutex // guards what follows; onLine is not called under it
	text     []byte
	watchers map[*watcher]struct{}
}

type watcher struct {
	matches func(line string) bool
	found   chan string
}

// watch returns a channel that gets the first line from now on that matches. The caller calls stop
// in the end.
func (l *serverLog) watch(matches func(line string) bool) (found <-chan string, stop func()) {
	w := &watcher{matches: matches, found: make(chan string, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watchers == nil {
		l.watchers = map[*watcher]struct{}{}
	}
	l.watchers[w] = struct{}{}
	return w.found, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, w)
	}
}

// read takes in lines until r ends.
func (l *serverLog) read(r io.Reader) {
	// A line longer than this is told in pieces.
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			l.add(line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (l *serverLog) add(raw []byte) {
	line := strings.TrimRight(string(raw), "\r\n")
	if l.onLine != nil {
		l.onLine(line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, raw...)
	if len(l.text) > 2*logLimit {
		// Twice the limit, so that the copy is paid once a megabyte and not once a line.
		l.text = append(l.text[:0], l.text[len(l.text)-logLimit:]...)
	}
	for w := range l.watchers {
		if w.matches(line) {
			w.found <- line
			delete(l.watchers, w)
		}
	}
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text[max(0, len(l.text)-logLimit):])
}

// tail is the end of the log, for errors.
func (l *serverLog) tail() string {
	text := strings.TrimRight(l.String(), "\n")
	if text == "" {
		return "(nothing)"
	}
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
