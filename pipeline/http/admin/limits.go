package admin

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/pipeline/contract"
	"arrakis/shard"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// counted are the actions that a community has used something of. What each
// user has used is not shown.
var counted = []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest}

// Usage is what a community has used of its limits.
type Usage struct {
	Community string        `json:"community_id"`
	Tier      tenant.Tier   `json:"tier"`
	Actions   []ActionUsage `json:"actions"`
	// Degraded says that Redis cannot be used and only what this process has
	// admitted is counted.
	Degraded bool `json:"degraded,omitzero"`
}

// ActionUsage is one action of a [Usage]. Limit and Remaining are -1 for
// unlimited.
type ActionUsage struct {
	Action    string `json:"action"`
	Used      int64  `json:"used"`
	Limit     int64  `json:"limit"`
	Remaining int64  `json:"remaining"`
	ResetMS   int64  `json:"reset_ms"` // until the oldest admission leaves the window, 0 for none
	WindowMS  int64  `json:"window_ms"`
}

// UsageOf asks for the usage of a resolved tenant, in one round trip to Redis.
func UsageOf(ctx context.Context, l *limiter.Limiter, t *tenant.Tenant) (Usage, error) {
	queries := make([]limiter.Query, len(counted))
	for i, a := range counted {
		n, window := t.Limit(a)
		queries[i] = limiter.Query{Key: shard.Key(t.ID, a), Limit: limiter.Limit{Max: n, Window: window}}
	}
	usages, err := l.Usages(ctx, queries)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of %q: %w", t.ID, err)
	}
	out := Usage{Community: t.ID, Tier: t.Tier}
	for i, u := range usages {
		out.Degraded = out.Degraded || u.Degraded
		out.Actions = append(out.Actions, ActionUsage{
			Action: counted[i].String(), Used: u.Used, Limit: u.Limit, Remaining: u.Remaining,
			ResetMS:  contract.Milliseconds(u.ResetAfter),
			WindowMS: contract.Milliseconds(queries[i].Limit.Window),
		})
	}
	return out, nil
}

// Reset is what a reset has forgotten.
type Reset struct {
	Community string   `json:"community_id"`
	Actions   []string `json:"reset"`
}

// Limits reads and resets what communities have used. All fields are required.
// It is safe for concurrent use.
type Limits struct {
	Tenants *store.Store
	Limiter *limiter.Limiter
	Redis   redis.UniversalClient // that the limiter counts in
}

// Usage is the usage of the community that messages carrying id count for.
// Errors: [*tenant.FieldError] for a bad id, [redishealth.ErrAway].
func (l *Limits) Usage(ctx context.Context, id string) (Usage, error) {
	t, err := l.tenant(ctx, id)
	if err != nil {
		return Usage{}, err
	}
	return UsageOf(ctx, l.Limiter, t)
}

// Reset forgets the admissions of the community that messages carrying id
// count for, of the given actions or of all where none is given, and tells
// every process. That of user_command looks at every key of Redis by SCAN.
// Errors are those of Usage.
func (l *Limits) Reset(ctx context.Context, id string, actions ...tenant.Action) (Reset, error) {
	t, err := l.tenant(ctx, id)
	if err != nil {
		return Reset{}, err
	}
	done := Reset{Community: t.ID}
	if len(actions) > 0 {
		err := l.reset(ctx, &done, actions, actions)
		return done, err
	}
	// Users come last, and are told once more: looking for their keys takes its time.
	if err := l.reset(ctx, &done, counted, nil); err != nil {
		return done, err
	}
	users := []tenant.Action{tenant.UserCommand}
	err = l.reset(ctx, &done, users, users)
	return done, err
}

// reset forgets the admissions of some actions and tells every process that
// those of told were, all of them for none.
func (l *Limits) reset(ctx context.Context, done *Reset, actions, told []tenant.Action) error {
	for _, a := range actions {
		var err error
		if a == tenant.UserCommand {
			err = l.resetUsers(ctx, done.Community)
		} else {
			err = l.Limiter.Reset(ctx, shard.Key(done.Community, a))
		}
		if err != nil {
			return fmt.Errorf("reset %s of %q: %w", a, done.Community, err)
		}
		done.Actions = append(done.Actions, a.String())
	}
	return l.Tenants.NotifyReset(ctx, done.Community, told...)
}

func (l *Limits) tenant(ctx context.Context, id string) (*tenant.Tenant, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	tenants, err := l.Tenants.Load(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	return tenants[0], nil
}

// CheckID refuses what cannot be the ID of a community by a
// [*tenant.FieldError], in the words of [store.Store].
func CheckID(id string) error {
	if tenant.ValidID(id) {
		return nil
	}
	return &tenant.FieldError{
		Field:  "community",
		Reason: fmt.Sprintf("%.64q must be 1 to 128 letters, digits, '_', ':' or '-'", id),
	}
}

// ParseActions reads the name of the action to reset; "" is all of them, for
// which it returns none. The error is a [*tenant.FieldError].
func ParseActions(name string) ([]tenant.Action, error) {
	if name == "" {
		return nil, nil
	}
	a, err := tenant.ParseAction(name)
	if err != nil {
		return nil, &tenant.FieldError{Field: "action", Reason: err.Error()}
	}
	return []tenant.Action{a}, nil
}

const (
	// limitPrefix is what the contract puts before every key of the limiter.
	limitPrefix = "ratelimit:"
	// scanCount is how many keys Redis looks at for one SCAN.
	scanCount = 1000
)

// resetUsers forgets what the users of a community have used, on every node.
func (l *Limits) resetUsers(ctx context.Context, community string) error {
	if l.Limiter.Degraded() {
		return redishealth.ErrAway
	}
	users := shard.UserKey(community, "")
	l.Limiter.ForgetLocalPrefix(users)
	// What was learned of them until they are deleted is of before the reset.
	defer l.Limiter.ForgetLocalPrefix(users)
	// No ID holds a character that a pattern would take for more than itself.
	pattern := limitPrefix + users + "*"
	if cluster, ok := l.Redis.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return l.unlink(ctx, node, pattern)
		})
	}
	return l.unlink(ctx, l.Redis, pattern)
}

// unlink deletes the keys of one node that match.
func (l *Limits) unlink(ctx context.Context, node redis.Cmdable, pattern string) error {
	for cursor := uint64(0); ; {
		keys, next, err := node.Scan(ctx, cursor, pattern, scanCount).Result()
		if err != nil {
			return err
		}
		// One command for each key: on a cluster they have slots of their own.
		_, err = l.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range keys {
				p.Unlink(ctx, key)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
