package pgtest

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// endPatience is how long Cut and Abort wait for the end of connections to arrive.
const endPatience = time.Second

// hearEnd waits until the clients' sockets have heard that their connections were closed, or hold
// something else that they have not read. On a busy machine that may be a moment later, even on the
// loopback. Where the system does not tell, it does not wait.
func hearEnd(clients []net.Conn) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(endPatience); anyUnaware(clients) && time.Now().Before(end); {
		<-tick.C
	}
}

// anyUnaware reports whether the kernel has a client's socket as established and empty (Linux,
// Documentation/networking/proc_net_tcp.rst).
func anyUnaware(clients []net.Conn) bool {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	unaware := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		// Number, the two addresses, the state, and the bytes to be sent and to be read.
		if f := strings.Fields(line); len(f) > 4 && f[3] == "01" && strings.HasSuffix(f[4], ":00000000") {
			unaware[f[1]+" "+f[2]] = true
		}
	}
	for _, conn := range clients {
		if unaware[kernelAddr(conn.RemoteAddr())+" "+kernelAddr(conn.LocalAddr())] {
			return true
		}
	}
	return false
}

// kernelAddr writes an IPv4 address as the table does on machines whose lowest byte comes first; on
// others no line is found.
func kernelAddr(addr net.Addr) string {
	tcp := addr.(*net.TCPAddr)
	ip := tcp.IP.To4()
	return fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], tcp.Port)
}
