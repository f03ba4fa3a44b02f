package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// network makes proxies with faults.
type network struct{ server *toxiproxy.ApiServer }

func newNetwork() *network {
	return &network{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// link is a proxy between one worker and one server, on which faults can be put.
type link struct {
	name  string
	proxy *toxiproxy.Proxy
}

// link starts a proxy in front of the address.
func (n *network) link(name, upstream string) (*link, error) {
	l := &link{name: name, proxy: toxiproxy.NewProxy(n.server, name, "127.0.0.1:0", upstream)}
	return l, l.proxy.Start()
}

func (l *link) addr() string { return l.proxy.Listen }

// close ends all connections.
func (l *link) close() { l.proxy.Stop() }

// cut closes all connections and refuses new ones, until mend.
func (l *link) cut() { l.proxy.Stop() }

// mend ends a cut.
func (l *link) mend() error { return l.proxy.Start() }

// delay holds back what goes either way for about the given time, until clear.
func (l *link) delay(d time.Duration) error {
	return l.add("latency", fmt.Sprintf(`{"latency":%d,"jitter":%d}`, d.Milliseconds(), d.Milliseconds()/4))
}

// silence leaves connections open, and new ones too, and drops all that is sent on them, until clear, which closes
// them.
func (l *link) silence() error { return l.add("timeout", `{"timeout":0}`) }

func (l *link) add(kind, attributes string) error {
	for _, stream := range []string{"upstream", "downstream"} {
		toxic := fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"attributes":%s}`, stream, kind, stream, attributes)
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			return fmt.Errorf("%s on %s: %w", kind, l.name, err)
		}
	}
	return nil
}

// clear ends delay and silence.
func (l *link) clear(ctx context.Context) { l.proxy.Toxics.ResetToxics(context.WithoutCancel(ctx)) }
