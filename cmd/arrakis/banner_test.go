package main

import (
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
)

func tcp(t *testing.T, addr string) net.Addr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestBannerGolden(t *testing.T) {
	for name, b := range map[string]banner{
		"defaults": {
			version: "v1.2.3", took: 400 * time.Millisecond,
			ingress: urlOf(tcp(t, "127.0.0.1:8080"), false), ops: urlOf(tcp(t, "127.0.0.1:8081"), false),
			natsURL: "nats://127.0.0.1:4222", redisURL: "redis://127.0.0.1:6379",
		},
		"elsewhere": {
			version: "v1.2.3", took: time.Second,
			ingress: urlOf(tcp(t, "0.0.0.0:1"), false), ops: urlOf(tcp(t, "[::]:2"), true),
			natsURL: "nats://127.0.0.1:3", redisURL: "redis://127.0.0.1:4", token: true,
		},
	} {
		var out strings.Builder
		if err := b.write(&out); err != nil {
			t.Fatal(err)
		}
		testserver.Golden(t, "banner/"+name+".txt", out.String())
	}
}

// TestBannerCurlLines runs what the banner says to try.
func TestBannerCurlLines(t *testing.T) {
	t.Parallel()
	d := startDev(t, "--ingress-token=s3cret")
	banner := d.stdout.String()
	if strings.Contains(banner, "s3cret") {
		t.Error("the banner holds the token")
	}
	lines := regexp.MustCompile(`(?m)^  curl .*$`).FindAllString(banner, -1)
	if len(lines) != 3 {
		t.Fatalf("%d curl lines", len(lines))
	}
	for i, want := range []string{`"status":"ok"`, `"eligible":`, "arrakis_tenant_commands_total{"} {
		// A command is counted a moment after it is answered.
		testserver.Eventually(t, lines[i]+" prints "+want, func() bool {
			return strings.Contains(shell(t, "INGRESS_TOKEN=s3cret; "+lines[i]), want)
		})
	}
}
