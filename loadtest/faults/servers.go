package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"arrakis/loadtest/program"
)

// startWithin is how long a server may take to answer.
const startWithin = 30 * time.Second

// node is one nats-server.
type node struct {
	*process
	name    string // as the others of a cluster know it
	addr    string // for clients
	monitor string // for HTTP
}

// newNodes prepares one nats-server, or a cluster of several, with their files in dir. Clients are not told of servers
// that they do not know, so that no worker goes around its proxy.
func newNodes(dir string, n int) ([]*node, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addrs, err := program.FreeAddrs(3 * n)
	if err != nil {
		return nil, err
	}
	var routes []string
	for i := range n {
		routes = append(routes, fmt.Sprintf("%q", "nats://"+addrs[3*i+2]))
	}
	nodes := make([]*node, n)
	for i := range nodes {
		name := fmt.Sprintf("nats-%d", i+1)
		config := fmt.Sprintf("server_name: %s\nlisten: %q\nhttp: %q\njetstream { store_dir: %q, max_file_store: 64GB }\n",
			name, addrs[3*i], addrs[3*i+1], filepath.Join(dir, name))
		if n > 1 {
			config += fmt.Sprintf("cluster { name: faults, listen: %q, no_advertise: true, routes: [%s] }\n",
				addrs[3*i+2], strings.Join(routes, ", "))
		}
		file := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, err
		}
		nodes[i] = &node{
			process: &process{name: name, path: self, args: []string{"nats-server", "-c", file}, log: filepath.Join(dir, name+".log")},
			name:    name, addr: addrs[3*i], monitor: addrs[3*i+1],
		}
	}
	return nodes, nil
}

// healthy returns nil if the server is up, and its streams and consumers are as far as those of its peers.
func (n *node) healthy(ctx context.Context) error {
	if err := get(ctx, "http://"+n.monitor+"/healthz", ""); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	return nil
}

// get returns nil if the URL answers 200 within a second.
func get(ctx context.Context, url, token string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	body, err := fetch(ctx, url, token)
	if err != nil {
		return err
	}
	return body.Close()
}

// fetch returns the body of a URL that answers 200.
func fetch(ctx context.Context, url, token string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // only for the error
		_ = resp.Body.Close()                                 // it is read
		return nil, fmt.Errorf("%s: %s", resp.Status, text)
	}
	return resp.Body, nil
}

// redisServer is a redis-server that keeps every write on disk before it answers, so that a kill loses nothing.
type redisServer struct {
	*process
	addr   string
	dir    string
	clock  string // file with the offset of its clock; "" if its clock cannot be stepped
	offset time.Duration
	client *redis.Client // without faults between
}

// newRedisServer prepares a redis-server with its files in dir.
func newRedisServer(dir string) (*redisServer, error) {
	path, err := program.RedisServer()
	if err != nil {
		return nil, err
	}
	addr, err := program.FreeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	r := &redisServer{addr: addr, dir: filepath.Join(dir, "redis")}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return nil, err
	}
	r.process = &process{name: "redis", path: path, log: filepath.Join(dir, "redis.log"), args: []string{
		"--bind", "127.0.0.1", "--port", port, "--dir", r.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", // an answer that was given survives a kill
		"--auto-aof-rewrite-percentage", "0", "--aof-use-rdb-preamble", "no", // the file is the record of all admissions
	}}
	if library := faketime(); library != "" {
		r.clock = filepath.Join(dir, "redis.clock")
		if err := os.WriteFile(r.clock, []byte("+0"), 0o600); err != nil {
			return nil, err
		}
		// The C library comes first for malloc: jemalloc asks for the time before libfaketime can tell it.
		r.env = []string{
			"LD_PRELOAD=" + library + ":libc.so.6", "FAKETIME_TIMESTAMP_FILE=" + r.clock, "FAKETIME_CACHE_DURATION=1",
			"FAKETIME_DONT_FAKE_MONOTONIC=1",
		}
	}
	r.client = redis.NewClient(&redis.Options{
		Addr: addr, MaxRetries: -1, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return r, nil
}

// faketime is the path of libfaketime, "" if it is not installed.
func faketime() string {
	for _, pattern := range []string{
		"/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1",
	} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 { // the patterns are well-formed
			return found[0]
		}
	}
	return ""
}

// answers returns nil if the server answers.
func (r *redisServer) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := r.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

// appendOnly is the file that holds all that the server has written.
func (r *redisServer) appendOnly() (string, error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("%d append-only files of redis-server in %s, want one; it must be version 7 or later", len(files), r.dir)
	}
	return files[0], nil
}

// written is how long the append-only file is.
func (r *redisServer) written() (int64, error) {
	file, err := r.appendOnly()
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// step sets the clock forward, or back if d is negative, while no command that writes runs. It returns how long the
// append-only file was then.
func (r *redisServer) step(ctx context.Context, d time.Duration) (offset int64, err error) {
	if err := r.client.Do(ctx, "CLIENT", "PAUSE", 30_000, "WRITE").Err(); err != nil {
		return 0, fmt.Errorf("pause redis: %w", err)
	}
	defer func() { err = errors.Join(err, r.client.Do(ctx, "CLIENT", "UNPAUSE").Err()) }()
	offset, err = r.written()
	if err != nil {
		return 0, err
	}
	r.offset += d
	if err := os.WriteFile(r.clock, fmt.Appendf(nil, "%+d", int(r.offset.Seconds())), 0o600); err != nil {
		return 0, err
	}
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = poll(bounded, func() error {
		now, err := r.client.Time(ctx).Result()
		if err != nil {
			return err
		}
		if off := now.Sub(time.Now().Add(r.offset)).Abs(); off > 2*time.Second {
			return fmt.Errorf("the clock of redis is off by %v", off)
		}
		return nil
	})
	return offset, err
}

// version is the server's version.
func (r *redisServer) version(ctx context.Context) string {
	info, err := r.client.InfoMap(ctx, "server").Result()
	if err != nil {
		return "unknown"
	}
	return info["Server"]["redis_version"]
}
