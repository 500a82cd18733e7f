package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is a running postmaster with its children.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when the postmaster is reaped and no child holds the log open
}

// spawn starts cmd with its output going to log.
//
// The signal that the kernel sends to a child whose parent dies is bound to the thread that started
// it, so one thread is kept for as long as the postmaster lives, and its goroutine ends with it.
func spawn(cmd *exec.Cmd, log *serverLog) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	p := &process{cmd: cmd, gone: make(chan struct{})}
	drained := make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = w.Close() // the child has its own; ours would keep the pipe open
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is in its log
		orphans := time.AfterFunc(orphanPatience, func() { _ = r.Close() })
		<-drained
		orphans.Stop()
		close(p.gone)
	}()
	if err := <-started; err != nil {
		_ = r.Close()
		return nil, explain(err)
	}
	go func() {
		defer close(drained)
		log.read(r)
		_ = r.Close()
	}()
	return p, nil
}

// orphanPatience is how long a dead postmaster's children may keep its log open before they are
// forgotten.
const orphanPatience = 10 * time.Second

func (p *process) signal(sig os.Signal) { _ = p.cmd.Process.Signal(sig) }

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// kill ends the postmaster and its children without giving them a chance to tell their clients, and
// waits.
func (p *process) kill() {
	children := childrenOf(p.cmd.Process.Pid)
	p.signal(os.Kill)
	// Children notice the loss of their postmaster only when they wait for something; a busy one
	// would go on.
	signalAll(children, os.Kill)
	<-p.gone
}

// signalAll sends a signal to the processes that still run.
func signalAll(pids []int, sig os.Signal) {
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Signal(sig)
			_ = p.Release()
		}
	}
}

// stop asks the postmaster to shut down and waits. One that does not obey in time is asked harder.
func (p *process) stop(mode Mode) {
	if mode == Fast && p.ask(syscall.SIGINT) {
		return
	}
	if p.ask(syscall.SIGQUIT) {
		return
	}
	p.kill()
}

// ask reports whether the postmaster went away within stopPatience after sig.
func (p *process) ask(sig os.Signal) bool {
	p.signal(sig)
	p.signal(sigCont) // a stopped process takes no signal
	timeout := time.NewTimer(stopPatience)
	defer timeout.Stop()
	select {
	case <-p.gone:
		return true
	case <-timeout.C:
		return false
	}
}

// stopPatience is more than the 5 seconds after which a postmaster kills children that do not obey.
const stopPatience = 15 * time.Second

// runner runs PostgreSQL's programs as the right user, in dir, with a clean environment.
type runner struct {
	bin Binaries
	who *identity // nil: as ourselves
	dir string    // current directory and HOME: the user must be able to look into it
}

func (r runner) command(ctx context.Context, onDeath syscall.Signal, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.bin.path(program), args...)
	cmd.Dir = r.dir
	cmd.Env = []string{"HOME=" + r.dir, "LC_ALL=C", "PATH=" + r.bin.Dir + ":/usr/bin:/bin"}
	// Nothing else is passed on: the caller's PGPORT, PGDATA or PGOPTIONS are not meant for this
	// server.
	for _, name := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ", "TMPDIR", "SYSTEMROOT"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = sysProcAttr(r.who, onDeath)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run runs a program to its end with text as its standard input. The error holds what it said on
// standard error.
func (r runner) run(ctx context.Context, env []string, text string, program string, args ...string) error {
	runtime.LockOSThread() // as in spawn
	defer runtime.UnlockOSThread()
	cmd := r.command(ctx, syscall.SIGKILL, program, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("pgserver: %s: %w", program, ctx.Err())
	default:
		return fmt.Errorf("pgserver: %s: %w: %s", program, explain(err), strings.TrimSpace(stderr.String()))
	}
}

// explain adds what to do to an error of starting a program.
func explain(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (PostgreSQL does not run as root; the user it runs as must be able to "+
			"enter every directory above its programs)", err)
	}
	return err
}
