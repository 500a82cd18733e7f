//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package pgserver

import (
	"os"
	"syscall"
)

// The package compiles everywhere, so that commands do, and Start fails where servers cannot be
// controlled.
const supported = false

const (
	sigStop = syscall.SIGTERM
	sigCont = syscall.SIGTERM
	sigHup  = syscall.SIGTERM
)

func sysProcAttr(*identity, syscall.Signal) *syscall.SysProcAttr { return nil }

func childrenOf(int) []int { return nil }

func tryLock(*os.File) bool { return false }

func ownedBy(os.FileInfo, int) bool { return false }

func awaitStop(int) {}
