package main

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

const (
	// fuzzedSecret stands for a password or a token. It must be in no output.
	fuzzedSecret = "hunter2"
	// fuzzedMost is how many bytes of an input are looked at: a longer one finds nothing new.
	fuzzedMost = 512
)

// FuzzRedisURL reads any REDIS_URL: no panic, and no error and no description that holds the password.
func FuzzRedisURL(f *testing.F) {
	for _, seed := range [][3]string{
		{"redis", "u", "@h:6379/0"},
		{"rediss", "", "@a,b:2/0?pool_size=3"},
		{"redis", "u", "/x@h"},
		{"redis", "u", "#x@h?db=1"},
		{"redis", "", "@a:1,redis://b:2"},
		{"redis+sentinel", "u", "@s1,s2:7/m/4?sentinel_username=su&sentinel_password=" + fuzzedSecret},
		{"rediss+sentinel", "u", "@[::1]/m"},
		{"unix", "", "@/run/redis.sock?db=2"},
		{"redis", "u%zz", "@h"},
		{"redis", "u", ""},
		{"redis", "u", "@a,sentinel_password=" + fuzzedSecret},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, scheme, user, rest string) {
		scheme, user, rest = scheme[:min(len(scheme), 32)], user[:min(len(user), 64)], rest[:min(len(rest), fuzzedMost)]
		hosts, query, _ := strings.Cut(rest, "?")
		query = strings.ReplaceAll(query, "sentinel_password="+fuzzedSecret, "")
		if strings.Contains(scheme+user+" "+hosts+" "+query, fuzzedSecret) {
			return // where it stands it is not a secret
		}
		target, err := parseRedisURL(scheme + "://" + user + ":" + fuzzedSecret + rest)
		shown := target.String
		authority := user + ":" + fuzzedSecret + rest
		if end := strings.IndexAny(authority, "/?#"); end >= 0 {
			authority = authority[:end]
		}
		if err != nil {
			shown = err.Error
		} else if !strings.Contains(authority[:max(0, strings.LastIndexByte(authority, '@'))], fuzzedSecret) {
			return // it is part of the host or of the path
		}
		if strings.Contains(shown(), fuzzedSecret) {
			t.Fatalf("%q, %q, %q: %s", scheme, user, rest, shown())
		}
	})
}

// FuzzSettings reads any two settings of serve: no panic, every fault is a line of its own, no secret is repeated, and
// what is accepted is in range. It leaves out what kong does for each command line, which takes most of a millisecond,
// and the settings that name files, which would be read.
func FuzzSettings(f *testing.F) {
	p := process{stdout: io.Discard, stderr: io.Discard, lookupEnv: environment{"NATS_URL": "nats://h", "INGRESS_AUTH": "none"}.lookup}
	var grammar commands
	var found faults
	parsed, err := newParser(&grammar, &found, p, func() {}).Parse([]string{"serve"})
	if err != nil {
		f.Fatal(err)
	}
	serve := parsed.Selected().Target.Addr().Interface().(*serveCmd) //nolint:forcetypeassert // the command that was parsed
	defaults := *serve
	flags := make(map[string]*kong.Flag)
	for _, flag := range parsed.Selected().Flags {
		if name := variable(flag); name != "" && flag.PlaceHolder != "FILE" {
			flags[name] = flag
		}
	}
	names := slices.Sorted(maps.Keys(flags))
	at := func(name string) uint8 { return uint8(slices.Index(names, name)) }
	for _, seed := range []struct{ name, value, other, second string }{
		{"SHARDS", "64", "NATS_URL", "nats://u:" + fuzzedSecret + "@h"},
		{"HANDLER_TIMEOUT", "1h", "SHARDS", "0"},
		{"COMMAND_TTL", "0s", "COMMAND_TTL", "-1s"},
		{"OVERLOAD_AGE", "0", "OVERLOAD_AGE", "2h"},
		{"LIMIT_ON_REDIS_DOWN", "closed", "STREAM_STORAGE", "disk"},
		{"REDIS_URL", "redis://:" + fuzzedSecret + "@h:port", "INGRESS_TOKEN", fuzzedSecret + "\x00"},
		{"NATS_URL", "nats://" + fuzzedSecret, "ADMIN_TOKEN", "a,é" + fuzzedSecret},
		{"ADMIN_TOKENS", "ada=all:" + fuzzedSecret, "ADMIN_TOKENS", "ada=all:" + fuzzedSecret + ",bob=limits+view:" + fuzzedSecret},
		{"ADMIN_TOKENS", fuzzedSecret, "ADMIN_TOKENS", fuzzedSecret + "=view:x"},
		{"HTTP_ADDR", ":8080", "OPS_ADDR", "nowhere"},
		{"LOG_LEVEL", "debug\nx", "MAX_ATTEMPTS", "9999999999999999999"},
		{"STREAM_REPLICAS", "6", "INGRESS_AUTH", "none"},
	} {
		f.Add(at(seed.name), seed.value, at(seed.other), seed.second)
	}
	f.Fuzz(func(t *testing.T, i uint8, value string, j uint8, second string) {
		env := environment{
			names[int(i)%len(names)]: value[:min(len(value), fuzzedMost)], names[int(j)%len(names)]: second[:min(len(second), fuzzedMost)],
		}
		*serve, found = defaults, faults{}
		for name, value := range env {
			if value == "" {
				continue // counts as not set
			}
			token := kong.Token{Type: kong.FlagValueToken, Value: value}
			if err := flags[name].Parse(kong.ScanFromTokens(token), flags[name].Target); err != nil {
				t.Fatalf("%s=%q: %v", name, value, err)
			}
		}
		found.add(serve.validate(p))
		checkSettings(t, env, serve, found.err())
	})
}

// checkSettings holds what came of settings against them.
func checkSettings(t *testing.T, env environment, c *serveCmd, err error) {
	t.Helper()
	if err != nil {
		var shown strings.Builder
		report(&shown, usageError{err})
		for line := range strings.Lines(shown.String()) {
			if !strings.HasPrefix(line, "arrakis: ") || !utf8.ValidString(line) || strings.ContainsAny(line, "\x00\x1b\r") {
				t.Fatalf("%q: the line %q", env, line)
			}
		}
		if secret := secretIn(env); secret != "" && strings.Contains(shown.String(), secret) {
			t.Fatalf("%q: %s", env, shown.String())
		}
		return
	}
	w := &c.workerSettings
	if w.Shards < 1 || w.Shards > 4096 || w.HandlerTimeout <= 0 || w.ShutdownTimeout <= 0 || w.CommandTTL < 0 || w.OverloadAge < 0 || w.MaxAttempts < 1 ||
		len(w.RetryBackoff.list()) < 1 || w.RetryUntil <= 0 ||
		c.TenantCacheTTL <= 0 || c.ReloadPollInterval <= 0 || c.StreamReplicas < 1 || c.StreamReplicas > 5 {
		t.Fatalf("%q: %+v", env, c)
	}
}

// secretIn returns the secret if it is part of a setting that may hold one, and of no other.
func secretIn(env environment) (secret string) {
	for name, value := range env {
		scheme, _, isURL := strings.Cut(value, "://")
		switch {
		case !strings.Contains(value, fuzzedSecret):
		case strings.HasSuffix(name, "_TOKEN"), name == "ADMIN_TOKENS", strings.HasSuffix(name, "_URL") && isURL && !strings.Contains(scheme, fuzzedSecret):
			secret = fuzzedSecret
		default:
			return ""
		}
	}
	return secret
}
