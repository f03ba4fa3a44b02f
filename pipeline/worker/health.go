package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/pipeline/http/ops"
	"arrakis/tenant/store"
)

// newHealth makes the health checks of the worker.
func (w *Worker) newHealth() *ops.Health {
	checks := map[string]ops.Check{
		"nats": func(context.Context) ops.Result {
			if w.o.NATS.IsClosed() {
				return ops.Result{Status: ops.Failed, Detail: "the connection is closed"}
			}
			if !w.o.NATS.IsConnected() {
				return ops.Result{Status: ops.Failed, Detail: "not connected; reconnecting"}
			}
			return ops.Result{Status: ops.OK}
		},
		"redis":  w.checkRedis,
		"config": w.checkConfig,
		"consumers": func(context.Context) ops.Result {
			if err := w.pipeline.Ready(); err != nil {
				return ops.Result{Status: ops.Failed, Detail: strings.ReplaceAll(err.Error(), "\n", "; ")}
			}
			return ops.Result{Status: ops.OK}
		},
	}
	if w.o.Record != nil {
		checks["postgres"] = w.checkRecord
	}
	return ops.NewHealth(checks)
}

// checkRecord reports degraded while nothing can be changed, or changes do not come into force: messages do not need
// PostgreSQL. Of the errors of others the detail says nothing, because they may name hosts and users.
func (w *Worker) checkRecord(ctx context.Context) ops.Result {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // less than the time-out of a health check, which is a failure
	defer cancel()
	switch err := w.o.Record.Check(ctx); {
	case err == nil:
		return ops.Result{Status: ops.OK}
	case errors.Is(err, store.ErrAway):
		return ops.Result{Status: ops.Degraded, Detail: "PostgreSQL does not answer, or not as it should, and the log says why: nothing can be changed, and what is in force stays"}
	case errors.Is(err, store.ErrElsewhere):
		return ops.Result{Status: ops.Degraded, Detail: strings.ReplaceAll(err.Error(), "\n", "; ")}
	default:
		return ops.Result{Status: ops.Degraded, Detail: "changes do not reach Redis, and are not in force yet; the log says why"}
	}
}

// withoutRedis is what happens to messages while Redis is away.
var withoutRedis = map[limiter.Policy]string{
	limiter.Local:  "limits are enforced by each process for itself",
	limiter.Open:   "limits are not enforced",
	limiter.Closed: "messages that have a limit are refused",
}

// checkRedis reports degraded while Redis is away, and not failed: taking the process out of service would not bring
// Redis back. It reports failed while the process has not started because it waits for Redis.
//
// The ping shows at once what the limiter's health learns only from questions that fail: without traffic up to 15 s
// later, and not at all before the pipeline has started. It is not counted there, because a server that answers pings
// may refuse writes: its answers must not end a row of failures.
func (w *Worker) checkRedis(ctx context.Context) ops.Result {
	if w.awaitsRedis.Load() {
		return ops.Result{
			Status: ops.Failed,
			Detail: "Redis does not answer: with the policy " + w.o.OnRedisDown.String() + " the worker waits for it before it starts",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second) // less than the time-out of a health check
	defer cancel()
	switch away := w.limiter.Health().Nodes(); {
	case len(away) == 0 && w.o.Redis.Ping(ctx).Err() == nil:
		return ops.Result{Status: ops.OK}
	case len(away) == 0, slices.Contains(away, redishealth.EveryKey):
		return ops.Result{Status: ops.Degraded, Detail: "Redis does not answer: " + withoutRedis[w.o.OnRedisDown]}
	default:
		return ops.Result{Status: ops.Degraded, Detail: fmt.Sprintf(
			"nodes of Redis do not answer (%s): of the keys on them, %s", strings.Join(away, ", "), withoutRedis[w.o.OnRedisDown])}
	}
}

// checkConfig reports degraded while a document in Redis cannot be used, and names its key.
func (w *Worker) checkConfig(context.Context) ops.Result {
	var keys []string
	count := 0
	for _, u := range w.tenants.Unusable() {
		count += u.Count
		keys = append(keys, u.Keys...)
	}
	if count == 0 {
		return ops.Result{Status: ops.OK}
	}
	detail := strings.Join(keys, ", ")
	if more := count - len(keys); more > 0 {
		detail += fmt.Sprintf(" and %d more", more)
	}
	return ops.Result{
		Status: ops.Degraded,
		Detail: detail + ": cannot be used; what was read before is in force, or else the default, and the log says what is wrong",
	}
}
