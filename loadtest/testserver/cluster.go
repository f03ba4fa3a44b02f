package testserver

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
)

// slots is the number of slots of a Redis Cluster.
const slots = 16384

// Cluster starts a Redis Cluster of n masters without replicas, and kills it when the test ends. The masters have equal
// parts of the slots. A cluster needs two seconds before it takes writes.
func Cluster(tb testing.TB, n int) []*RedisServer {
	tb.Helper()
	masters := make([]*RedisServer, n)
	for i := range masters {
		masters[i] = Redis(tb, clusterSettings...)
	}
	joinCluster(tb, masters)
	return masters
}

// ConnectCluster returns a client of the cluster that has a node at addr. The client waits for answers as long as the
// client of ConnectRedis.
func ConnectCluster(tb testing.TB, addr string) *redis.ClusterClient {
	tb.Helper()
	c := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{addr}, ContextTimeoutEnabled: true, DialTimeout: Patience, ReadTimeout: Patience, DialerRetries: 1,
	})
	tb.Cleanup(func() { _ = c.Close() }) // nothing is pending
	return c
}

// clusterSettings make a node that does not count as failed while it stalls on a loaded machine.
var clusterSettings = []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "60000"}

// joinCluster joins the nodes to a cluster and waits until each takes writes.
func joinCluster(tb testing.TB, masters []*RedisServer) {
	tb.Helper()
	clients := make([]*redis.Client, len(masters))
	for i, m := range masters {
		clients[i] = m.Client(tb)
		host, port, _ := net.SplitHostPort(m.addr)
		for _, err := range []error{
			clients[i].ClusterAddSlotsRange(tb.Context(), slots*i/len(masters), slots*(i+1)/len(masters)-1).Err(),
			clients[i].Do(tb.Context(), "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(),
			clients[0].Do(tb.Context(), "CLUSTER", "MEET", host, port).Err(),
		} {
			if err != nil {
				tb.Fatal(err)
			}
		}
	}
	for _, c := range clients {
		Succeeds(tb, "the cluster is up", func() error { return clusterUp(tb, c, len(masters)) })
	}
}

// clusterUp returns an error while a node does not take writes or cannot publish to every other node. A cluster that
// counts as ok may still lack links between nodes, and messages that are published without a link are lost.
func clusterUp(tb testing.TB, c *redis.Client, masters int) error {
	tb.Helper()
	info, err := c.ClusterInfo(tb.Context()).Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok\r\n") || !strings.Contains(info, fmt.Sprintf("cluster_size:%d\r\n", masters)) {
		return fmt.Errorf("it says %q", info)
	}
	nodes, err := c.ClusterNodes(tb.Context()).Result()
	if err != nil {
		return err
	}
	if strings.Count(nodes, " connected") != masters || strings.Contains(nodes, "handshake") {
		return fmt.Errorf("its nodes are %q", nodes)
	}
	return nil
}

// shared is the cluster that the tests of a package borrow in turn. With a cluster of its own, each test would need two
// seconds more.
var shared sharedCluster

// sharedCluster is a Redis Cluster of one node that owns every slot. It refuses keys of several slots in one command,
// like any cluster.
type sharedCluster struct {
	turn sync.Mutex // held by the test that borrows the cluster

	// Protected by turn.
	server *RedisServer
	dir    string
}

// borrow waits for the cluster and empties it. The test returns the cluster when it ends.
func (c *sharedCluster) borrow(tb testing.TB) *RedisServer {
	tb.Helper()
	Program(tb, "redis-server")
	c.turn.Lock()
	tb.Cleanup(c.turn.Unlock)
	if c.server == nil {
		c.open(tb)
	}
	if err := c.server.Client(tb).FlushAll(tb.Context()).Err(); err != nil {
		tb.Fatal(err)
	}
	return c.server
}

func (c *sharedCluster) open(tb testing.TB) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "arrakis-cluster-") //nolint:usetesting // the directory outlives the test
	if err != nil {
		tb.Fatal(err)
	}
	s := newRedis(tb, func(port string) []string { return redisArgs(port, dir, clusterSettings) })
	c.dir, c.server = dir, s
	joinCluster(tb, []*RedisServer{s})
}

// close ends the cluster, if a test has started it.
func (c *sharedCluster) close() {
	if c.server == nil {
		return
	}
	c.server.Kill()
	_ = os.RemoveAll(c.dir) // the system clears temporary files anyway
}
