//go:build !unix || aix

package guard

// canPeek is false: there is no look here that does not wait.
const canPeek = false

func peek(uintptr) SocketState { return SocketUnknown }
