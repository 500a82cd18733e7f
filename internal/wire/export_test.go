package wire

import "io"

// Tap returns the two ends of a Wire that a frontend would get, between it and a server that says
// from.
func Tap(from io.Reader, to io.Writer) (io.Reader, io.Writer, *Wire) {
	w := &Wire{}
	return tap{from, to, w}, tap{from, to, w}, w
}
