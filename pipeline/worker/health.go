package worker

import (
	"context"
	"time"

	"arrakis/limiter"
	"arrakis/pipeline/http/ops"
)

// newHealth makes the health checks of the worker.
func (w *Worker) newHealth() *ops.Health {
	return ops.NewHealth(map[string]ops.Check{
		"nats": func(context.Context) ops.Result {
			if w.o.NATS.IsClosed() {
				return ops.Result{Status: ops.Failed, Detail: "the connection is closed"}
			}
			if !w.o.NATS.IsConnected() {
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

// checkRedis reports degraded while Redis is away, and not failed: taking the process out of service would not bring
// Redis back.
func (w *Worker) checkRedis(ctx context.Context) ops.Result {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // less than the time-out of a health check
	defer cancel()
	if !w.limiter.Degraded() && w.o.Redis.Ping(ctx).Err() == nil {
		return ops.Result{Status: ops.OK}
	}
	detail := map[limiter.Policy]string{
		limiter.Local:  "limits are enforced by each process for itself",
		limiter.Open:   "limits are not enforced",
		limiter.Closed: "messages that have a limit are refused",
	}[w.o.OnRedisDown]
	return ops.Result{Status: ops.Degraded, Detail: "Redis does not answer: " + detail}
}
