package program

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// NATS is one nats-server: this program, started again with nats-server as its first argument, upon which it must call
// [NATSServer] with the others. Its name is that by which the others of a cluster know it.
type NATS struct {
	*Process
	Addr    string // for clients
	Monitor string // for HTTP
}

// NewNATS prepares one nats-server, or a cluster of several, with their files in dir. Clients are not told of servers
// that they do not know, so that no worker goes around its proxy.
func NewNATS(dir string, n int) ([]*NATS, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addrs, err := FreeAddrs(3 * n)
	if err != nil {
		return nil, err
	}
	var routes []string
	for i := range n {
		routes = append(routes, fmt.Sprintf("%q", "nats://"+addrs[3*i+2]))
	}
	nodes := make([]*NATS, n)
	for i := range nodes {
		name := fmt.Sprintf("nats-%d", i+1)
		config := fmt.Sprintf("server_name: %s\nlisten: %q\nhttp: %q\njetstream { store_dir: %q, max_file_store: 64GB }\n",
			name, addrs[3*i], addrs[3*i+1], filepath.Join(dir, name))
		if n > 1 {
			config += fmt.Sprintf("cluster { name: arrakis, listen: %q, no_advertise: true, routes: [%s] }\n",
				addrs[3*i+2], strings.Join(routes, ", "))
		}
		file := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, err
		}
		nodes[i] = &NATS{
			Process: &Process{Name: name, Path: self, Args: []string{"nats-server", "-c", file}, Log: filepath.Join(dir, name+".log")},
			Addr:    addrs[3*i], Monitor: addrs[3*i+1],
		}
	}
	return nodes, nil
}

// Healthy returns nil if the server is up, and its streams and consumers are as far as those of its peers.
func (n *NATS) Healthy(ctx context.Context) error {
	if err := Get(ctx, "http://"+n.Monitor+"/healthz", ""); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}
