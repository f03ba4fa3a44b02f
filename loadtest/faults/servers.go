package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"arrakis/loadtest/program"
)

// startWithin is how long a server may take to answer.
const startWithin = 30 * time.Second

// redisServer is a redis-server that keeps every write on disk before it answers, so that a kill loses nothing.
type redisServer struct {
	*program.Process
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
	r.Process = &program.Process{Name: "redis", Path: path, Log: filepath.Join(dir, "redis.log"), Args: []string{
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
		r.Env = []string{
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
	err = program.Poll(bounded, func() error {
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
