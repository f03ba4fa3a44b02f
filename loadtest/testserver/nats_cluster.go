package testserver

import (
	"fmt"
	"net"
	"net/url"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSCluster starts a cluster of n nats-servers with JetStream in this process, and ends it when the test ends. It
// returns when the cluster has a leader that knows all servers.
func NATSCluster(tb testing.TB, n int) []*NATSServer {
	tb.Helper()
	var routes []*url.URL
	for range n {
		routes = append(routes, &url.URL{Scheme: "nats", Host: address(tb)})
	}
	var nodes []*NATSServer
	for i, route := range routes {
		options := natsOptions(tb)
		options.ServerName = fmt.Sprintf("node%d", i)
		host, port := hostPort(tb, route.Host)
		options.Cluster = server.ClusterOpts{Name: "test", Host: host, Port: port}
		options.Routes = routes
		s := &NATSServer{tb: tb, options: options}
		s.start()
		tb.Cleanup(s.Stop)
		nodes = append(nodes, s)
	}
	for _, s := range nodes {
		s.awaitConnections()
	}
	Eventually(tb, "the cluster has a leader that knows all servers", func() bool {
		for _, s := range nodes {
			if s.server.JetStreamIsLeader() {
				return len(s.server.JetStreamClusterPeers()) == n
			}
		}
		return false
	})
	return nodes
}

func hostPort(tb testing.TB, address string) (host string, port int) {
	tb.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	return a.IP.String(), a.Port
}
