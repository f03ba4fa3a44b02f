package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/limiter"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/admin"
	"arrakis/pipeline/http/ops"
)

// newHealth checks what the worker needs.
func (w *worker) newHealth() *ops.Health {
	return ops.NewHealth(map[string]ops.Check{
		"nats": func(context.Context) ops.Result {
			if !w.c.nats.IsConnected() {
				return ops.Result{Status: ops.Failed, Detail: "not connected; reconnecting"}
			}
			return ops.Result{Status: ops.OK}
		},
		"redis": w.checkRedis,
		"consumers": func(context.Context) ops.Result {
			if err := w.pipeline.Ready(); err != nil {
				return ops.Result{Status: ops.Failed, Detail: err.Error()}
			}
			return ops.Result{Status: ops.OK}
		},
	})
}

// checkRedis finds the process degraded while Redis is away: taking it out of
// service would not bring Redis back.
func (w *worker) checkRedis(ctx context.Context) ops.Result {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // short of the time that health gives a check
	defer cancel()
	if !w.limiter.Degraded() && w.c.redis.Ping(ctx).Err() == nil {
		return ops.Result{Status: ops.OK}
	}
	detail := map[limiter.Policy]string{
		limiter.Local:  "limits are enforced by each process for itself",
		limiter.Open:   "limits are not enforced",
		limiter.Closed: "messages that have a limit are refused",
	}[w.c.tenants.policy()]
	return ops.Result{Status: ops.Degraded, Detail: "Redis does not answer: " + detail}
}

// httpHandler serves the ingress, and health beside it.
func (w *worker) httpHandler() http.Handler {
	mux := http.NewServeMux()
	w.health.Mount(mux)
	mux.Handle("/", w.ingress.Handler())
	return mux
}

// newAdmin serves the admin API.
func (w *worker) newAdmin() (http.Handler, error) {
	js, err := jetstream.New(w.c.nats)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return admin.Handler(admin.Options{
		Limits:      &admin.Limits{Tenants: w.tenants, Limiter: w.limiter, Redis: w.c.redis},
		DeadLetters: deadletter.New(js),
		Logger:      w.c.log,
	})
}

// newOpsServer serves the ops address. A profile may take minutes.
func (w *worker) newOpsServer() (*http.Server, error) {
	api, err := w.newAdmin()
	if err != nil {
		return nil, err
	}
	h, err := ops.Handler(ops.Options{
		Health: w.health, Gatherer: w.registry, Admin: api,
		AdminToken: w.c.http.AdminToken, Loopback: loopback(w.opsListener.Addr()),
	})
	if err != nil {
		return nil, fmt.Errorf("ops address: %w", err)
	}
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      5 * time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(w.c.log.Handler(), slog.LevelDebug),
	}, nil
}

// loopback reports whether only this machine reaches a listener's address.
func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
