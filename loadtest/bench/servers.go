package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"arrakis/loadtest/program"
)

// startWithin is how long a server may take to answer.
const startWithin = 20 * time.Second

// servers are a nats-server and a redis-server of the benchmark's own, each in its own process, and connections to
// them.
type servers struct {
	natsURL   string
	redisAddr string
	nc        *nats.Conn
	js        jetstream.JetStream
	rdb       *redis.Client
	dir       string // where their files are
	natsPID   int
	runs      uint32 // how many there have been
	stop      func() // ends everything and waits
}

// startServers starts both in dir, on free ports of the loopback interface.
func startServers(ctx context.Context, dir string) (_ *servers, err error) {
	redisServer, err := program.RedisServer()
	if err != nil {
		return nil, err
	}
	s := &servers{dir: dir}
	var teardown []func()
	s.stop = func() {
		for i := len(teardown) - 1; i >= 0; i-- {
			teardown[i]()
		}
	}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.redisAddr, err = program.FreeAddr(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.redisAddr)
	if err != nil {
		return nil, err
	}
	stopRedis, _, err := start(ctx, redisServer, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", dir)
	if err != nil {
		return nil, err
	}
	teardown = append(teardown, stopRedis)
	stopNATS, natsPID, err := startNATS(ctx, dir)
	if err != nil {
		return nil, err
	}
	s.natsPID = natsPID
	teardown = append(teardown, stopNATS)
	if err := s.connect(ctx, dir); err != nil {
		return nil, err
	}
	teardown = append(teardown, func() { s.nc.Close(); _ = s.rdb.Close() }) // nobody uses it any more
	return s, nil
}

// start starts a server. stop ends it and waits.
func start(ctx context.Context, name string, args ...string) (stop func(), pid int, err error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // servers end after what uses them
	cmd, _ := newProcess(ctx, name, args...)
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, 0, fmt.Errorf("start %s: %w", name, err)
	}
	return func() {
		cancel()
		_ = cmd.Wait() // its own end is asked for
	}, cmd.Process.Pid, nil
}

// startNATS starts this program again as a nats-server, which leaves the port that it was given in a file.
func startNATS(ctx context.Context, dir string) (stop func(), pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, 0, err
	}
	// By default JetStream reserves no more than three quarters of the disk that is free. The bounds of all streams add up
	// to more than some machines have, though a benchmark stores far less.
	config := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(config, []byte("jetstream { max_file_store: 64GB }\n"), 0o600); err != nil {
		return nil, 0, err
	}
	return start(ctx, self, "nats-server", "--config", config, "--addr", "127.0.0.1", "--port", "-1",
		"--jetstream", "--store_dir", natsStore(dir), "--ports_file_dir", dir, "--log", filepath.Join(dir, "nats.log"))
}

// natsStore is where nats-server keeps its streams.
func natsStore(dir string) string { return filepath.Join(dir, "nats") }

// connect waits until both answer.
func (s *servers) connect(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	err := poll(ctx, 10*time.Millisecond, func() (bool, error) {
		s.natsURL = portsFile(dir)
		return s.natsURL != "", nil
	})
	if err != nil {
		return fmt.Errorf("nats-server does not come up: %w", err)
	}
	if s.nc, err = nats.Connect(s.natsURL, nats.Name("bench")); err != nil {
		return fmt.Errorf("connect to nats-server: %w", err)
	}
	if s.js, err = jetstream.New(s.nc, jetstream.WithPublishAsyncMaxPending(publishWindow)); err != nil {
		return err
	}
	s.rdb = redis.NewClient(&redis.Options{
		Addr: s.redisAddr, ReadTimeout: time.Minute, // for FLUSHALL of a million keys
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	var last error
	err = poll(ctx, 10*time.Millisecond, func() (bool, error) {
		last = s.rdb.Ping(ctx).Err()
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("redis-server does not answer: %w", last)
	}
	return nil
}

// portsFile returns the URL in the ports file in dir, "" if it is not there yet.
func portsFile(dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*.ports"))
	if err != nil || len(files) != 1 {
		return ""
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		return ""
	}
	var ports struct {
		NATS []string `json:"nats"`
	}
	if json.Unmarshal(data, &ports) != nil || len(ports.NATS) == 0 {
		return ""
	}
	return ports.NATS[0]
}

// redisBytes is how much the Redis server has received and sent.
func (s *servers) redisBytes(ctx context.Context) (total int64, err error) {
	info, err := s.rdb.InfoMap(ctx, "stats").Result()
	if err != nil {
		return 0, fmt.Errorf("read the counters of redis-server: %w", err)
	}
	for _, name := range []string{"total_net_input_bytes", "total_net_output_bytes"} {
		n, err := strconv.ParseInt(info["Stats"][name], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s of redis-server: %w", name, err)
		}
		total += n
	}
	return total, nil
}
