//go:build !unix || aix

package socket

// canPeek is false: there is no look here that does not wait.
const canPeek = false

func peek(uintptr) State { return Unknown }
