//go:build backends

package backends

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pgsafe/pgsafe/internal/pgtest"
	"github.com/pgsafe/pgsafe/internal/pgtest/check"
)

// backend is a server of somebody else's that a test started.
type backend struct {
	url  string // of its HTTP API
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
	log  string        // name of the file
}

// start runs program and returns when readyURL answers 200. api is where the server takes questions. It ends with the
// test, unless it is to be kept.
func start(t *testing.T, api, readyURL, program string, args ...string) *backend {
	t.Helper()
	b := &backend{url: api, gone: make(chan struct{}), cmd: exec.Command(program, args...)}
	log, err := os.Create(filepath.Join(scratch(t), filepath.Base(program)+".log"))
	check.OK(t, err)
	b.log = log.Name()
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = attributes()
	b.cmd.Env = append(os.Environ(), "OTEL_TRACES_SAMPLER=always_off") // Jaeger would trace itself, into nowhere
	check.OK(t, b.cmd.Start())
	check.OK(t, log.Close())
	go func() {
		_ = b.cmd.Wait() // how it ended is in its log
		close(b.gone)
	}()
	t.Cleanup(func() {
		if *keep {
			fmt.Printf("%s goes on at %s until it is killed: kill %d\n", t.Name(), b.url, b.cmd.Process.Pid)
			return
		}
		b.stop(t)
	})
	pgtest.Eventually(t, program+" is ready", func() bool {
		if b.ended() {
			t.Fatalf("%s ended; the end of its log:\n%s", program, b.logTail())
		}
		return answers(readyURL)
	})
	return b
}

// scratch makes a directory that outlives the test if the backend does.
func scratch(t *testing.T) string {
	t.Helper()
	if !*keep {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "pgsafe-backend-")
	check.OK(t, err)
	return dir
}

// stop ends the server, and shows what it had to say if the test failed.
func (b *backend) stop(t *testing.T) {
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	impatient := time.AfterFunc(stopPatience, func() { _ = b.cmd.Process.Kill() })
	<-b.gone
	impatient.Stop()
	if t.Failed() {
		t.Logf("the end of the log of %s:\n%s", b.cmd.Path, b.logTail())
	}
}

// stopPatience is how long a server may take to end in order.
const stopPatience = 20 * time.Second

func (b *backend) ended() bool {
	select {
	case <-b.gone:
		return true
	default:
		return false
	}
}

func (b *backend) logTail() string {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4<<10):])
}

// ask returns the answer to a question to the API, as it came and decoded into answer.
func (b *backend) ask(t *testing.T, path string, query url.Values, answer any) string {
	t.Helper()
	body, err := get(b.url + path + "?" + query.Encode())
	check.OK(t, err)
	if err := json.Unmarshal(body, answer); err != nil {
		t.Fatalf("%s: %v in %s", path, err, body)
	}
	return string(body)
}

// client keeps no connection, so that no goroutine of one outlives the tests.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

func get(url string) ([]byte, error) {
	res, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, res.Status, body)
	}
	return body, err
}

func answers(url string) bool {
	_, err := get(url)
	return err == nil
}

// freeAddresses returns n addresses of this machine that nobody listens on at the moment.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		check.OK(t, err)
		defer l.Close() // when all are found: they differ
		addresses[i] = l.Addr().String()
	}
	return addresses
}
