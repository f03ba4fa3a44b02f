package testserver

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// PublishRaw publishes a message whose headers are given as they are on the wire, without the last line break, because
// the library does not write headers that a hostile publisher can. It returns when the server has taken the message.
func PublishRaw(tb testing.TB, url, subject, headers, body string) {
	tb.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // all is said
	headers = "NATS/1.0\r\n" + headers + "\r\n\r\n"
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subject, len(headers), len(headers)+len(body), headers, body)
	if err != nil {
		tb.Fatal(err)
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "PONG":
			return
		case strings.HasPrefix(line, "-ERR"):
			tb.Fatal(line)
		}
	}
	tb.Fatal("the server closed the connection")
}
