//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package pgserver

import "syscall"

const supported = true

const (
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
	sigHup  = syscall.SIGHUP
)

// sysProcAttr makes a child run as who. There is no signal for the death of a parent here, so the
// child stays in our process group: an interrupt from the terminal ends it too, even if nothing
// else does.
func sysProcAttr(who *identity, _ syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if who != nil {
		attr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid}
	}
	return attr
}

// childrenOf returns none: the children of a killed postmaster end when they next wait for
// something.
func childrenOf(int) []int { return nil }

func awaitStop(int) {}
