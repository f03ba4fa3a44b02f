package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seen is what a test looks at of a redisTarget.
type seen struct {
	Kind, Addrs, User, Password, Master, Sentinel string
	DB, Pool                                      int
	TLS                                           bool
}

func look(r redisTarget) seen {
	switch {
	case r.single != nil:
		o := r.single
		return seen{"single", o.Addr, o.Username, o.Password, "", "", o.DB, o.PoolSize, o.TLSConfig != nil}
	case r.cluster != nil:
		o := r.cluster
		return seen{"cluster", strings.Join(o.Addrs, " "), o.Username, o.Password, "", "", 0, o.PoolSize, o.TLSConfig != nil}
	case r.sentinel != nil:
		o := r.sentinel
		return seen{
			"sentinel", strings.Join(o.SentinelAddrs, " "), o.Username, o.Password, o.MasterName,
			o.SentinelUsername + ":" + o.SentinelPassword, o.DB, o.PoolSize, o.TLSConfig != nil,
		}
	default:
		return seen{}
	}
}

func TestParseRedisURL(t *testing.T) {
	for url, want := range map[string]seen{
		"redis://localhost:6379":              {Kind: "single", Addrs: "localhost:6379"},
		"redis://h":                           {Kind: "single", Addrs: "h:6379"},
		"rediss://u:p%40ss@h:1/3?pool_size=7": {Kind: "single", Addrs: "h:1", User: "u", Password: "p@ss", DB: 3, Pool: 7, TLS: true},
		"redis://[::1]:6380":                  {Kind: "single", Addrs: "[::1]:6380"},
		"unix:///run/redis.sock?db=2":         {Kind: "single", Addrs: "/run/redis.sock", DB: 2},
		"redis://a:1,b:2,c":                   {Kind: "cluster", Addrs: "a:1 b:2 c:6379"},
		"redis://a:1,redis://b:2":             {Kind: "cluster", Addrs: "a:1 b:2"},
		"rediss://:pw@a,b:2/0?pool_size=3":    {Kind: "cluster", Addrs: "a:6379 b:2", Password: "pw", Pool: 3, TLS: true},
		"rediss://u:pw@a:1,rediss://u:pw@b:2": {Kind: "cluster", Addrs: "a:1 b:2", User: "u", Password: "pw", TLS: true},
		"redis+sentinel://s1,s2:7/mymaster":   {Kind: "sentinel", Addrs: "s1:26379 s2:7", Master: "mymaster", Sentinel: ":"},
		"redis+sentinel://u:pw@s1/m/4?pool_size=2&sentinel_username=su&sentinel_password=sp": {
			Kind: "sentinel", Addrs: "s1:26379", User: "u", Password: "pw", Master: "m", Sentinel: "su:sp", DB: 4, Pool: 2,
		},
		"rediss+sentinel://s1:1,s2:2/m": {Kind: "sentinel", Addrs: "s1:1 s2:2", Master: "m", Sentinel: ":", TLS: true},
	} {
		r, err := parseRedisURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if diff := cmp.Diff(want, look(r)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", url, diff)
		}
		if err := newRedis(r, 0).Close(); err != nil {
			t.Errorf("%s: close: %v", url, err)
		}
	}
}

func TestParseRedisURLRefuses(t *testing.T) {
	for _, url := range []string{
		"", "localhost:6379", "http://hunter2", "redis://:hunter2@a,b/1", "redis://:hunter2@h/x", "redis://:hunter2@h?nope=1",
		"redis+sentinel://:hunter2@h", "redis://:hunter2@h:port", "redis://:hunter2@a,,b", "redis://:hunter2@a,b:x", "unix://:hunter2@",
		"redis://:hunter2%zz@h", "redis+sentinel://:hunter2@h/m/x",
	} {
		_, err := parseRedisURL(url)
		if err == nil {
			t.Errorf("%s: no error", url)
			continue
		}
		if !strings.Contains(err.Error(), "REDIS_URL") || strings.Contains(err.Error(), "hunter2") && url != "http://hunter2" {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestWithoutSecrets(t *testing.T) {
	for urls, want := range map[string]string{
		"nats://a:4222":                  "nats://a:4222",
		"nats://u:p@a:4222, tls://tok@b": "nats://a:4222,tls://b",
		"u:p@a,b":                        "nats://a,nats://b",
	} {
		if got := withoutSecrets(urls); got != want {
			t.Errorf("withoutSecrets(%s) = %s, want %s", urls, got, want)
		}
	}
	for url, want := range map[string]string{
		"redis://u:p,w@h:1/2":        "h:1",
		"redis://u:p@a,b/0":          "cluster a:6379,b:6379",
		"redis+sentinel://u:p@s,t/m": "m at sentinels s:26379,t:26379",
	} {
		r, err := parseRedisURL(url)
		if err != nil || r.String() != want {
			t.Errorf("%s is shown as %s, %v; want %s", url, r, err, want)
		}
	}
}
