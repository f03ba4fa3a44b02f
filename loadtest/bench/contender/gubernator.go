package contender

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gubernator-io/gubernator/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"arrakis/loadtest/bench/workload"
	"arrakis/tenant"
)

const (
	// peersKey is the Redis set in which the processes find one another's addresses.
	peersKey = "bench:gubernator:peers"
	// peerTimeout is Gubernator's BatchTimeout: longer than its default of
	// 500 ms, for here its peers share few cores.
	peerTimeout = 5 * time.Second
)

// startGubernator starts a peer in this process. Each key belongs to one peer, which the others ask over gRPC; the
// windows are in its memory. It has no sliding window: its token bucket is full again when the window ends.
func startGubernator(ctx context.Context, e *env) (*running, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	server := grpc.NewServer()
	peer, err := gubernator.NewV1Instance(gubernator.Config{
		GRPCServers: []*grpc.Server{server},
		Behaviors:   gubernator.BehaviorConfig{BatchTimeout: peerTimeout},
	})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	var serving errgroup.Group
	serving.Go(func() error { return server.Serve(l) })
	stop := func() error {
		server.Stop()
		return errors.Join(peer.Close(), serving.Wait())
	}
	if err := e.rdb.SAdd(ctx, peersKey, addr).Err(); err != nil {
		return nil, errors.Join(err, stop())
	}
	groups := make([][]question, batchers)
	for _, q := range e.questions() {
		g := q.community % batchers
		groups[g] = append(groups[g], q)
	}
	decide := func(ctx context.Context) error {
		// All peers are there by now, for all processes have started.
		if err := e.meetPeers(ctx, peer, addr); err != nil {
			return err
		}
		var g errgroup.Group
		for _, questions := range groups {
			g.Go(func() error { return e.askGubernator(ctx, peer, questions) })
		}
		return g.Wait()
	}
	return &running{decide: decide, stop: stop}, nil
}

// meetPeers tells the peer at addr of all peers, itself among them.
func (e *env) meetPeers(ctx context.Context, peer *gubernator.V1Instance, addr string) error {
	addrs, err := e.rdb.SMembers(ctx, peersKey).Result()
	if err != nil {
		return err
	}
	peers := make([]gubernator.PeerInfo, len(addrs))
	for i, a := range addrs {
		peers[i] = gubernator.PeerInfo{GRPCAddress: a, IsOwner: a == addr}
	}
	peer.SetPeers(peers)
	return nil
}

// askGubernator makes the decisions of one goroutine, in batches.
func (e *env) askGubernator(ctx context.Context, peer *gubernator.V1Instance, questions []question) error {
	for len(questions) > 0 {
		n := min(batch, len(questions))
		var communities []int
		var req gubernator.GetRateLimitsReq
		for _, q := range questions[:n] {
			limit := e.spec.Mix.Limit(q.community)
			if limit == workload.Unlimited {
				e.admitted[q.community].Add(1)
				continue
			}
			communities = append(communities, q.community)
			req.Requests = append(req.Requests, &gubernator.RateLimitReq{
				Name: string(tenant.Command), UniqueKey: workload.ID(q.community), Hits: 1, Limit: limit,
				Duration: workload.Window.Milliseconds(), Algorithm: gubernator.Algorithm_TOKEN_BUCKET,
			})
		}
		resp, err := peer.GetRateLimits(ctx, &req)
		if err != nil {
			return err
		}
		for i, r := range resp.Responses {
			if r.Error != "" {
				return fmt.Errorf("community %s: %s", workload.ID(communities[i]), r.Error)
			}
			if r.Status == gubernator.Status_UNDER_LIMIT {
				e.admitted[communities[i]].Add(1)
			}
		}
		questions = questions[n:]
	}
	return nil
}
