package auth

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"arrakis/pipeline/http/problem"
)

// Hosts refuses what a web page may have sent through the browser of somebody who can reach the address. Browsers send
// such requests without asking, so it needs no token to be stolen, and none to be known where none is asked for.
//
// A page that gives its own name the address of this machine (DNS rebinding) counts as the same site to a browser; only
// the header Host gives it away. IP addresses cannot be forged this way, so they and localhost are always allowed. The
// zero value allows no other host.
type Hosts struct {
	names    map[string]bool
	suffixes []string // with the dot in front
}

// NewHosts also allows names, such as ops.example.com, and *.example.com for every name below example.com. Ports do not
// matter.
func NewHosts(names ...string) (Hosts, error) {
	h := Hosts{names: make(map[string]bool, len(names))}
	for _, name := range names {
		bare, below := strings.CutPrefix(strings.ToLower(name), "*.")
		if bare == "" || strings.Trim(bare, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.HasPrefix(bare, ".") {
			return Hosts{}, fmt.Errorf("has %.64q: expected host names without scheme and port, such as ops.example.com or *.example.com", name)
		}
		bare = strings.TrimSuffix(bare, ".")
		if below {
			h.suffixes = append(h.suffixes, "."+bare)
		} else {
			h.names[bare] = true
		}
	}
	return h, nil
}

// CheckHost returns nil if the request's Host is allowed, and a problem otherwise.
func (h Hosts) CheckHost(r *http.Request) *problem.Problem {
	if h.allows(r.Host) {
		return nil
	}
	return problem.New(http.StatusForbidden, "foreign-host",
		"The host %.128q is not known to this address, so a web page of that name may be behind the request. "+
			"Use localhost or an IP address, or start arrakis with the host's name in OPS_HOSTS.", r.Host).About("Host")
}

func (h Hosts) allows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || h.names[host] {
		return true
	}
	for _, suffix := range h.suffixes {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// CheckOrigin returns nil unless a browser made the request for a page of another site; then it returns a problem. It
// judges reading requests as strictly as writing ones, because some are costly. Following a link is allowed.
func (h Hosts) CheckOrigin(r *http.Request) *problem.Problem {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reads && r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
		return nil
	}
	asWrite := *r
	asWrite.Method = http.MethodPost // the protection would let every GET, HEAD and OPTIONS pass
	if new(http.CrossOriginProtection).Check(&asWrite) == nil {
		return nil
	}
	return problem.New(http.StatusForbidden, "foreign-origin",
		"A browser sent this request for a page of another site, which is not served here. "+
			"Use a page of this address, the command line, or a client that is no browser.").About("Origin")
}
