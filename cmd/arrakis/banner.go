package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// banner is the text that `arrakis dev` prints when it is ready: the addresses, and commands to try.
type banner struct {
	version  string
	took     time.Duration
	ingress  string // URL
	ops      string // URL of the ops address, and with a slash of the console
	natsURL  string
	redisURL string
	token    bool // the ingress asks for a token
	discord  *demoDiscord
}

func (b banner) write(w io.Writer) error {
	auth := ""
	if b.token {
		auth = ` -H "Authorization: Bearer $INGRESS_TOKEN"`
	}
	post := func(path, body string) string {
		return fmt.Sprintf("curl -sS %s%s -H 'Content-Type: application/json'%s -d '%s'", b.ingress, path, auth, body)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `
arrakis %s is ready after %.1f s. Everything runs in this process and is gone when it ends (Ctrl-C).

  ingress     %s
  console     %s/
  ops         %s   /metrics /readyz /debug/pprof
  NATS        %s   with JetStream
  Redis       %s
  tenants     comm_000 to comm_009 enterprise, to comm_029 pro, to comm_099 free
%s  commands    ping, echo, usage, stats, sleep, panel

Try a command (a free community has 10 a minute), an eligibility check, and the metrics:

  %s
  %s
  curl -sS %s/metrics | grep ^arrakis_tenant_commands
`,
		b.version, b.took.Seconds(), b.ingress, b.ops, b.ops, b.natsURL, b.redisURL, b.chat(),
		post("/v1/commands", `{"community_id":"comm_099","data":{"command_name":"ping"}}`),
		post("/v1/eligibility/checks", `{"community_id":"comm_010","user_id":"42","check_type":"single"}`),
		b.ops)
	out.WriteString("\nOr, in another terminal (arrakis is `go run ./cmd/arrakis` in the checkout):\n\n")
	for _, exports := range []string{b.exports(), b.discordExports()} {
		if exports != "" {
			out.WriteString("  export " + exports + "\n")
		}
	}
	out.WriteString("  arrakis send comm_099 ping\n  arrakis usage comm_099\n  arrakis tenant upgrade comm_099 pro\n\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// chat says where the chat is, "" without one.
func (b banner) chat() string {
	if b.discord == nil {
		return ""
	}
	return fmt.Sprintf("  Discord     %s/discord   a chat; nothing reaches the real one\n", b.ops)
}

// discordExports are the environment variables that `arrakis discord` needs to find the Discord that is played, "" without
// one.
func (b banner) discordExports() string {
	d := b.discord
	if d == nil {
		return ""
	}
	return fmt.Sprintf("DISCORD_API_URL=%s DISCORD_APPLICATION_ID=%s DISCORD_BOT_TOKEN=%s", d.apiURL, d.ApplicationID(), d.BotToken())
}

// exports are the environment variables that the command line needs to find NATS and Redis, "" if both have their
// default addresses.
func (b banner) exports() string {
	var vars []string
	if b.natsURL != localNATS {
		vars = append(vars, "NATS_URL="+b.natsURL)
	}
	if b.redisURL != "redis://127.0.0.1:6379" {
		vars = append(vars, "REDIS_URL="+b.redisURL)
	}
	return strings.Join(vars, " ")
}

// urlOf is the URL of a listener, for clients on this machine.
func urlOf(a net.Addr, tls bool) string {
	scheme := "http://"
	if tls {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + net.JoinHostPort(host, port)
}
