package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"arrakis/limiter"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/admin"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/connections"
	"arrakis/pipeline/http/console"
	"arrakis/pipeline/http/idempotency"
	"arrakis/pipeline/http/ingress"
	"arrakis/pipeline/http/openapi"
	"arrakis/pipeline/http/ops"
	"arrakis/pipeline/lanes"
	"arrakis/shard"
)

// maxOpsConnections bounds the open connections of the ops address. Anybody who reaches it may connect.
const maxOpsConnections = 1_024

// addIngress makes the server of the ingress, of health and of the description of both addresses.
func (w *Worker) addIngress() error {
	bearer, err := auth.NewBearer(w.o.IngressTokens...)
	if err != nil {
		return err
	}
	remembered, err := idempotency.New(w.o.Redis, idempotency.Options{
		Health: w.limiter.Health(), Closed: w.o.OnRedisDown == limiter.Closed, Logger: w.o.Logger, Registerer: w.o.Registry,
	})
	if err != nil {
		return err
	}
	w.ingress, err = ingress.New(ingress.Options{
		NATS: w.o.NATS, Bearer: bearer, Idempotency: remembered, Lanes: w.pipeline.Lanes(), DrainTimeout: ingressDrain(w.o.ShutdownTimeout),
		Tracer: w.tracer, TrustTraces: bearer.Required() || loopback(w.o.HTTP.Addr()),
		Logger: w.o.Logger, Registerer: w.o.Registry,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	w.health.Mount(mux)
	mux.Handle(openapi.Path, openapi.Handler())
	if len(w.o.Discord.PublicKeys) > 0 {
		if err := w.addDiscord(mux); err != nil {
			return err
		}
	}
	mux.Handle("/", w.ingress.Handler())
	w.httpServer = w.ingress.Server(mux)
	return nil
}

// addOps makes the server of the ops address. Its answers may take minutes, because a profile does.
func (w *Worker) addOps() error {
	js, err := jetstream.New(w.o.NATS)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	w.hub = w.newHub(js)
	limits, letters := &shard.Limits{Tenants: w.tenants, Limiter: w.limiter}, deadletter.New(js)
	inLanes := func(ctx context.Context, community string) ([]lanes.Status, error) {
		return lanes.Look(ctx, js, w.o.Redis, w.limiter.Health(), community)
	}
	api, err := admin.Handler(admin.Options{
		Limits: limits, Directory: w.directory, DeadLetters: letters, Lanes: inLanes, Live: w.hub, Logger: w.o.Logger,
	})
	if err != nil {
		return err
	}
	onLoopback := loopback(w.o.Ops.Addr())
	access, err := w.o.access(onLoopback)
	if err != nil {
		return err
	}
	if !access.Closed() && !access.CanChange() {
		w.o.Logger.Warn("nobody may change anything by the ops address: there are tokens that may look (VIEW_TOKEN), but none that may do more (ADMIN_TOKEN, ADMIN_TOKENS)")
	}
	pages, err := console.Handler(console.Options{
		Fleet: w.hub, Limits: limits, Directory: w.directory, DeadLetters: letters, Lanes: inLanes,
		Chat: w.o.Chat, Access: access, Version: w.o.Version, Logger: w.o.Logger,
	})
	if err != nil {
		return err
	}
	hosts, err := auth.NewHosts(w.o.OpsHosts...)
	if err != nil {
		return err
	}
	h, err := ops.Handler(ops.Options{
		Health: w.health, Gatherer: w.o.Registry, Admin: api, Console: pages,
		Access: access, Hosts: hosts, Loopback: onLoopback,
	})
	if err != nil {
		return fmt.Errorf("ops address: %w", err)
	}
	w.opsServer = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      5 * time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(w.o.Logger.Handler(), slog.LevelDebug),
	}
	connections.Limit(w.opsServer, maxOpsConnections)
	return nil
}

// loopback reports whether only this machine can reach the listener's address.
func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// serve serves until ctx ends, and then waits a moment for the requests in flight. Requests of the ingress have ended
// before; this is the time for the last bytes.
func (w *Worker) serve(ctx context.Context, s *http.Server, l net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers(w.o.ShutdownTimeout)/2)
		defer cancel()
		if err := s.Shutdown(limited); err != nil {
			return s.Close()
		}
		return nil
	})
	return g.Wait()
}
