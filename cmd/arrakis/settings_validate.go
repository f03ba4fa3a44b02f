package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"arrakis/limiter"
	"arrakis/pipeline/http/auth"
)

func (s *natsSettings) validate() error {
	var errs []error
	if s.URL != "" && !validServers(s.URL) {
		errs = append(errs, errors.New("NATS_URL (--nats-url): expected servers such as nats://host:4222, comma-separated"))
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		errs = append(errs, errors.New("NATS_TLS_CERT and NATS_TLS_KEY belong together: set both or neither"))
	}
	for _, f := range []struct{ name, path string }{
		{"NATS_CREDS", s.Creds},
		{"NATS_NKEY", s.NKey},
		{"NATS_TLS_CA", s.TLSCA},
		{"NATS_TLS_CERT", s.TLSCert},
		{"NATS_TLS_KEY", s.TLSKey},
	} {
		errs = append(errs, validPath(f.name, f.path))
	}
	if s.NKey != "" && errors.Join(errs...) == nil {
		if _, err := nats.NkeyOptionFromSeed(s.NKey); err != nil {
			errs = append(errs, fmt.Errorf("NATS_NKEY: %s: %w", s.NKey, err))
		}
	}
	return errors.Join(append(errs, s.validateIdentity())...)
}

// validateIdentity checks that there is at most one way to authenticate, because NATS would use one of several and not
// say which.
func (s *natsSettings) validateIdentity() error {
	var set []string
	for _, way := range []struct {
		name string
		set  bool
	}{
		{"NATS_CREDS", s.Creds != ""}, {"NATS_NKEY", s.NKey != ""}, {"NATS_TOKEN", s.Token != ""}, {"a user in NATS_URL", strings.Contains(s.URL, "@")},
	} {
		if way.set {
			set = append(set, way.name)
		}
	}
	if len(set) > 1 {
		return fmt.Errorf("%s are set, and only one of them can be used: keep one", strings.Join(set, " and "))
	}
	return nil
}

// validPath checks a setting that is the path of a file. Whoever gives the secret itself in place of the path must not
// find it in an error.
func validPath(name, path string) error {
	if path == "" {
		return nil
	}
	if _, err := nkeys.FromSeed([]byte(path)); err == nil || strings.Contains(path, "-----BEGIN") {
		return fmt.Errorf("%s: expected the path of a file, not what is in it", name)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// validServers reports whether nats.go would accept urls as servers. The errors of nats.go are not used, because they
// would repeat a password.
func validServers(urls string) bool {
	for server := range strings.SplitSeq(urls, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return false
		}
	}
	return true
}

func (s *redisSettings) validate() error {
	_, err := parseRedisURL(s.URL)
	return err
}

func (s *httpSettings) validate() error {
	errs := []error{validAddr("HTTP_ADDR (--http-addr)", s.HTTPAddr), validAddr("OPS_ADDR (--ops-addr)", s.OpsAddr)}
	if _, err := auth.NewBearer(commaList(s.IngressToken)...); err != nil {
		errs = append(errs, fmt.Errorf("INGRESS_TOKEN (--ingress-token) %w", err))
	}
	errs = append(errs, s.validateTokens())
	if _, err := auth.NewHosts(commaList(s.OpsHosts)...); err != nil {
		errs = append(errs, fmt.Errorf("OPS_HOSTS (--ops-hosts) %w", err))
	}
	return errors.Join(append(errs, s.tlsSettings.validate())...)
}

// validateTokens checks the tokens of the ops address.
func (s *httpSettings) validateTokens() error {
	var errs []error
	access := auth.NewAccess(false)
	if err := access.Add(auth.Admin, commaList(s.AdminToken)...); err != nil {
		errs = append(errs, fmt.Errorf("ADMIN_TOKEN (--admin-token) %w", err))
	}
	if err := access.Add(auth.Viewer, commaList(s.ViewToken)...); err != nil {
		errs = append(errs, fmt.Errorf("VIEW_TOKEN (--view-token) %w", err))
	}
	named, err := auth.ParseNamedTokens(commaList(s.AdminTokens))
	if err != nil {
		errs = append(errs, fmt.Errorf("ADMIN_TOKENS (--admin-tokens) %w", err))
	}
	for i, t := range named {
		if err := access.Add(t.Grant, t.Token); err != nil {
			errs = append(errs, fmt.Errorf("ADMIN_TOKENS (--admin-tokens) entry %d %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// namedTokens are the tokens of ADMIN_TOKENS, which validate has checked.
func (s *httpSettings) namedTokens() []auth.NamedToken {
	named, _ := auth.ParseNamedTokens(commaList(s.AdminTokens))
	return named
}

// opsHosts are the names by which the ops address may be asked: those of OPS_HOSTS, and that of OPS_ADDR if it is one.
func (s *httpSettings) opsHosts() []string {
	hosts := commaList(s.OpsHosts)
	host, _, err := net.SplitHostPort(s.OpsAddr)
	if _, notIP := netip.ParseAddr(host); err != nil || host == "" || notIP == nil {
		return hosts
	}
	return append(hosts, host)
}

// commaList splits a setting that is a list. Only the empty setting is an empty list: of "," both entries are empty, so
// that a check of the entries finds the fault.
func commaList(s string) []string {
	if s == "" {
		return nil
	}
	list := strings.Split(s, ",")
	for i, entry := range list {
		list[i] = strings.TrimSpace(entry)
	}
	return list
}

// validAddr checks an address to listen on.
func validAddr(name, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s is %q: expected host:port or :port, such as 127.0.0.1:8080", name, addr)
	}
	return nil
}

// policy returns LIMIT_ON_REDIS_DOWN as the limiter takes it.
func (s *tenantSettings) policy() limiter.Policy {
	for _, p := range []limiter.Policy{limiter.Open, limiter.Closed} {
		if string(s.LimitOnRedisDown) == p.String() {
			return p
		}
	}
	return limiter.Local
}
