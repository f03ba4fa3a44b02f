package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"arrakis/loadtest/testserver"
)

// identity is one way to authenticate at NATS: a server that asks for it, and the settings that have it.
type identity struct {
	server  func(*server.Options)
	env     environment // without NATS_URL, unless the user is in it
	user    string      // for NATS_URL, with the @
	secrets []string    // must not be found anywhere
}

// identities are all ways to authenticate, by name.
func identities(t *testing.T) map[string]identity {
	t.Helper()
	return map[string]identity{
		"user": {
			server:  func(o *server.Options) { o.Username, o.Password = "arrakis", "MARKnatspassword" },
			user:    "arrakis:MARKnatspassword@",
			secrets: []string{"MARKnatspassword"},
		},
		"token": {
			server:  func(o *server.Options) { o.Authorization = "MARKnatstoken" },
			env:     environment{"NATS_TOKEN": "MARKnatstoken"},
			secrets: []string{"MARKnatstoken"},
		},
		"nkey":        nkeyIdentity(t),
		"credentials": credentialsIdentity(t),
	}
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public, seed string) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	secret, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public, string(secret)
}

func secretFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func nkeyIdentity(t *testing.T) identity {
	t.Helper()
	_, public, seed := newKey(t, nkeys.CreateUser)
	return identity{
		server:  func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
		env:     environment{"NATS_NKEY": secretFile(t, "user.nk", seed+"\n")},
		secrets: []string{seed},
	}
}

// credentialsIdentity is a server whose accounts are JWTs, with one account that may use JetStream, and a user of it.
func credentialsIdentity(t *testing.T) identity {
	t.Helper()
	operator, operatorKey, _ := newKey(t, nkeys.CreateOperator)
	account, accountKey, _ := newKey(t, nkeys.CreateAccount)
	_, systemKey, _ := newKey(t, nkeys.CreateAccount)
	_, userKey, seed := newKey(t, nkeys.CreateUser)
	encode := func(claims jwt.Claims, signer nkeys.KeyPair) string {
		token, err := claims.Encode(signer)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	trusted := jwt.NewOperatorClaims(operatorKey)
	trusted.SystemAccount = systemKey
	encode(trusted, operator)
	tenant := jwt.NewAccountClaims(accountKey)
	tenant.Limits.JetStreamLimits = jwt.JetStreamLimits{
		MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit,
		MaxAckPending: jwt.NoLimit, MemoryMaxStreamBytes: jwt.NoLimit, DiskMaxStreamBytes: jwt.NoLimit,
	}
	resolver := &server.MemAccResolver{}
	for key, claims := range map[string]*jwt.AccountClaims{accountKey: tenant, systemKey: jwt.NewAccountClaims(systemKey)} {
		if err := resolver.Store(key, encode(claims, operator)); err != nil {
			t.Fatal(err)
		}
	}
	user := encode(jwt.NewUserClaims(userKey), account)
	creds, err := jwt.FormatUserConfig(user, []byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	return identity{
		server: func(o *server.Options) {
			o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{trusted}, resolver, systemKey
		},
		env:     environment{"NATS_CREDS": secretFile(t, "user.creds", string(creds))},
		secrets: []string{seed, user},
	}
}

// with returns the settings for a server of the identity.
func (id identity) with(s *testserver.NATSServer) environment {
	env := environment{"NATS_URL": strings.Replace(s.URL(), "//", "//"+id.user, 1)}
	for name, value := range id.env {
		env[name] = value
	}
	return env
}

// TestNATSIdentities: each way to authenticate lets a command in, and nobody gets in without it.
func TestNATSIdentities(t *testing.T) {
	t.Parallel()
	for name, id := range identities(t) {
		s := testserver.NATS(t, id.server)
		if r := arrakis(t, id.with(s), "provision"); r.code != exitDone {
			t.Errorf("%s: %+v", name, r)
		}
		if r := arrakis(t, environment{"NATS_URL": s.URL()}, "provision"); r.code != exitFailed || !strings.Contains(r.stderr, "Authorization Violation") {
			t.Errorf("%s, without it: %+v", name, r)
		}
	}
}

func TestNATSIdentityFaults(t *testing.T) {
	t.Parallel()
	_, _, seed := newKey(t, nkeys.CreateUser)
	_, _, account := newKey(t, nkeys.CreateAccount)
	file := secretFile(t, "user.nk", seed)
	for _, tt := range []struct {
		env  environment
		want string
	}{
		{environment{"NATS_TOKEN": "MARK", "NATS_NKEY": file}, "NATS_NKEY and NATS_TOKEN are set"},
		{environment{"NATS_TOKEN": "MARK", "NATS_CREDS": file}, "NATS_CREDS and NATS_TOKEN are set"},
		{environment{"NATS_TOKEN": "MARK", "NATS_URL": "nats://u:MARK@h"}, "NATS_TOKEN and a user in NATS_URL are set"},
		{environment{"NATS_NKEY": seed}, "NATS_NKEY: expected the path of a file"},
		{environment{"NATS_TLS_KEY": "-----BEGIN PRIVATE KEY-----MARK", "NATS_TLS_CERT": file}, "NATS_TLS_KEY: expected the path of a file"},
		{environment{"NATS_NKEY": "/no/such/file"}, "NATS_NKEY: stat /no/such/file"},
		{environment{"NATS_NKEY": secretFile(t, "empty.nk", "MARK")}, "NATS_NKEY: "},
		{environment{"NATS_NKEY": secretFile(t, "account.nk", account)}, "NATS_NKEY: "},
	} {
		r := arrakis(t, tt.env, "provision")
		if r.code != exitUsage || !strings.Contains(r.stderr, tt.want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%v: exit code %d, %s; want %q", tt.env, r.code, r.stderr, tt.want)
		}
		for _, secret := range []string{"MARK", seed, account} {
			if strings.Contains(r.stderr, secret) {
				t.Errorf("%s has a secret", r.stderr)
			}
		}
	}
}
