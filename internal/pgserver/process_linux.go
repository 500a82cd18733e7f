package pgserver

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

const supported = true

const (
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
	sigHup  = syscall.SIGHUP
)

// sysProcAttr makes a child run as who, and get the signal onDeath when the thread that started it
// ends.
//
// It gets a process group of its own: an interrupt from the terminal is for the parent, which then
// stops the server in order. The group serves the death of the parent too: the kernel wakes a group
// that is orphaned while stopped, so that a paused server takes the signal.
func sysProcAttr(who *identity, onDeath syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onDeath}
	if who != nil {
		attr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid}
	}
	return attr
}

// awaitStop returns when our child pid, which was sent sigStop, has stopped or ended.
func awaitStop(pid int) {
	const (
		byPid = 1          // P_PID
		peek  = 0x100_0000 // WNOWAIT: the one who waits for its end is to see that
	)
	var info [128]byte // siginfo_t; what is in it is known
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPid, uintptr(pid), uintptr(unsafe.Pointer(&info)),
			syscall.WSTOPPED|peek, 0, 0)
		if errno != syscall.EINTR {
			return
		}
	}
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // gone since
		}
		// "pid (name) state ppid ...", and the name may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(pid) {
			children = append(children, child)
		}
	}
	return children
}
