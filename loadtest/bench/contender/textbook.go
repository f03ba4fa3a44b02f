package contender

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/bench/workload"
)

// envelope is the message as encoding/json reads it.
type envelope struct {
	EventID   string `json:"event_id"`
	EventType string `json:"event_type"`
	GuildID   string `json:"guild_id"`
	UserID    string `json:"user_id"`
	Data      struct {
		CommandName string         `json:"command_name"`
		Options     map[string]any `json:"options"`
	} `json:"data"`
}

// due is when the message was to be published, if it says so, in unix µs.
func (e *envelope) due() int64 {
	due, _ := e.Data.Options["due"].(float64) // exact: it has less than 53 bits
	return int64(due)
}

// policy is a community's tier and limit.
type policy struct {
	tier  string
	limit int64
}

// policies are those of all communities, in memory: the rivals do not have to look tenants up.
func (e *env) policies() map[string]policy {
	all := make(map[string]policy, e.spec.Communities)
	for i := range e.spec.Communities {
		all[workload.ID(i)] = policy{tier: string(e.spec.Mix.Tier(i)), limit: e.spec.Mix.Limit(i)}
	}
	return all
}

// tierMetrics are a worker's usual metrics, made with WithLabelValues for each message.
type tierMetrics struct {
	commands *prometheus.CounterVec
	latency  *prometheus.HistogramVec
}

func newTierMetrics() (*tierMetrics, error) {
	labels := []string{"community_id", "tier", "command"}
	m := &tierMetrics{
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "worker_commands_total", Help: "Commands by how they ended.",
		}, append(labels, "status")),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "worker_command_latency_seconds", Help: "Time to handle a command.",
		}, labels),
	}
	reg := prometheus.NewRegistry()
	if err := reg.Register(m.commands); err != nil {
		return nil, err
	}
	return m, reg.Register(m.latency)
}

// textbook is the worker that most would write first.
type textbook struct {
	*env
	metrics  *tierMetrics
	policies map[string]policy
}

func startTextbook(ctx context.Context, e *env) (*running, error) {
	m, err := newTierMetrics()
	if err != nil {
		return nil, err
	}
	t := &textbook{env: e, metrics: m, policies: e.policies()}
	messages := make(chan jetstream.Msg, pullBatch) // closed by stop, when nothing is sent any more
	consume, err := e.consumer.Consume(func(m jetstream.Msg) { messages <- m }, jetstream.PullMaxMessages(pullBatch))
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	var workers errgroup.Group
	for range cmp.Or(e.spec.Handlers, manyHandlers) {
		workers.Go(func() error {
			for m := range messages {
				if err := t.serve(ctx, m); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return &running{stop: func() error {
		consume.Drain()
		<-consume.Closed()
		close(messages)
		return workers.Wait()
	}}, nil
}

// serve takes one message from JSON to its ack.
func (t *textbook) serve(ctx context.Context, m jetstream.Msg) error {
	began := time.Now()
	var e envelope
	if err := json.Unmarshal(m.Data(), &e); err != nil {
		return err
	}
	p := t.policies[e.GuildID]
	allowed, err := t.allow(ctx, &e, p.limit, began)
	if err != nil {
		return err
	}
	status := "rate_limited"
	if allowed {
		if err := t.perform(ctx, e.Data.CommandName, e.GuildID, e.due()); err != nil {
			return err
		}
		status = "success"
		t.metrics.latency.WithLabelValues(e.GuildID, p.tier, e.Data.CommandName).Observe(time.Since(began).Seconds())
	}
	t.metrics.commands.WithLabelValues(e.GuildID, p.tier, e.Data.CommandName, status).Inc()
	return m.Ack()
}

// allow is the sorted-set limiter as it is usually written: four commands, one after the other, by the clock of this
// process. Between the count and the entry others count the same, which admits too many.
func (t *textbook) allow(ctx context.Context, e *envelope, limit int64, now time.Time) (bool, error) {
	if limit == workload.Unlimited {
		return true, nil
	}
	key := "textbook:" + e.GuildID
	ms := now.UnixMilli()
	old := strconv.FormatInt(ms-workload.Window.Milliseconds(), 10)
	if err := t.rdb.ZRemRangeByScore(ctx, key, "-inf", old).Err(); err != nil {
		return false, err
	}
	count, err := t.rdb.ZCard(ctx, key).Result()
	if err != nil {
		return false, err
	}
	if err := t.rdb.ZAdd(ctx, key, redis.Z{Score: float64(ms), Member: e.EventID}).Err(); err != nil {
		return false, err
	}
	if err := t.rdb.Expire(ctx, key, workload.Window).Err(); err != nil {
		return false, err
	}
	return count < limit, nil
}
