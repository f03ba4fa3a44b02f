package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/limiter/redishealth"
	"arrakis/limiter/redisscript"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// Explanation says what a community may do now, which document decided it, and what a command would get.
type Explanation struct {
	Community string      `json:"community_id"`
	StoredAs  string      `json:"stored_as"` // the ID that messages carry
	Stored    bool        `json:"stored"`    // there is a config; otherwise the community has the free tier
	Tier      tenant.Tier `json:"tier"`
	// Account is the one that the community is in. If it counts together, the limits are used by all its communities.
	Account *tenant.Membership `json:"account,omitempty"`
	// TierSetting says who decided the tier: the account, an entitlement, or an operator, who set it by hand in the config.
	TierSetting tenant.Setting[tenant.Tier] `json:"tier_setting"`
	// Entitlement is the one that gives a tier, also if that is not in force; nil: none does.
	Entitlement *ExplainedEntitlement       `json:"entitlement,omitempty"`
	Verdict     ExplainedVerdict            `json:"verdict"`
	Mode        tenant.Setting[tenant.Mode] `json:"mode"`
	Limits      []ExplainedLimit            `json:"limits"`
	Weight      tenant.Setting[int64]       `json:"weight"`
	Features    []tenant.Feature            `json:"features"`
	Flags       []tenant.FlagDecision       `json:"flags"`
	// Unusable are the keys of documents that cannot be used: the last usable ones are in force, or none.
	Unusable []string `json:"unusable,omitempty"`
	// Degraded says that Redis does not know the use of a limit; in its place is what this process knows.
	Degraded bool `json:"degraded,omitzero"`
}

// ExplainedEntitlement is something that was bought on Discord for the community.
type ExplainedEntitlement struct {
	ID     string      `json:"id"`
	SKU    string      `json:"sku"`
	Tier   tenant.Tier `json:"tier"` // that the SKU gives
	EndsAt time.Time   `json:"ends_at,omitzero"`
}

// NewExplainedEntitlement shows what was bought, nil for nothing.
func NewExplainedEntitlement(b *tenant.Bought) *ExplainedEntitlement {
	if b == nil {
		return nil
	}
	return &ExplainedEntitlement{ID: b.ID, SKU: b.SKU, Tier: b.Tier, EndsAt: b.EndsAt}
}

// Decision is what limits decide on a message.
type Decision string

// The decisions.
const (
	Allowed     Decision = "allowed"
	Delayed     Decision = "delayed"      // it waits until a permit is free, unless its sender or its time to live is shorter
	RateLimited Decision = "rate_limited" // it is rejected
	Unavailable Decision = "unavailable"  // it cannot be checked, and is refused for that
)

// ExplainedVerdict is what one more command would get now.
type ExplainedVerdict struct {
	Decision Decision `json:"decision"`
	// Limit is the action of the limit that decides, if the decision is not Allowed. A user's own limit is asked first; but
	// a worker that knows that the community's limit is used up does not ask it.
	Limit string `json:"limit,omitempty"`
	// RetryAfterMS is when the decision may be another one, 0 if it is Allowed.
	RetryAfterMS int64 `json:"retry_after_ms"`
	// Shadow says that the command is handled all the same.
	Shadow bool `json:"shadow"`
}

// ExplainedLimit is a limit with its use. Numbers of permits are -1 for unlimited.
type ExplainedLimit struct {
	Action string `json:"action"`
	// Limit is the limit in force, with its boost while that lasts.
	Limit    tenant.Setting[int64] `json:"limit"`
	WindowMS int64                 `json:"window_ms"`
	Boost    *Boost                `json:"boost,omitempty"`
	// Use is missing for the limit of each user, if no user is given.
	Use *LimitUse `json:"use,omitempty"`
	// OnLimit and MaxDelayed are missing for the limit of each user, which always rejects.
	OnLimit    *tenant.Setting[tenant.OnLimit] `json:"on_limit,omitempty"`
	MaxDelayed *tenant.Setting[int64]          `json:"max_delayed,omitempty"`
}

// LimitUse is the use of a limit now.
type LimitUse struct {
	Used         int64 `json:"used"`
	Remaining    int64 `json:"remaining"`
	Delayed      int64 `json:"delayed"`        // messages that wait for a permit that is theirs
	ResetMS      int64 `json:"reset_ms"`       // until the oldest admission leaves the window; 0: there is none
	RetryAfterMS int64 `json:"retry_after_ms"` // until a permit is free; 0: one is free now
	Never        bool  `json:"never,omitzero"` // no permit will be free; then RetryAfterMS says no more than when to ask again
}

// Explain explains what the community that the tenant key id belongs to may do now, and what a command of the user would
// get; "" is a command without a user. It charges nothing and writes nothing. It asks Redis once; once more if the config
// names an account; and once more if it names another community, or if more permits of a limit are taken than it has, or a
// boost may end before one is free.
// Errors: [*tenant.FieldError] for a bad id or user, [redishealth.ErrAway].
func (l *Limits) Explain(ctx context.Context, id, user string) (Explanation, error) {
	if err := errors.Join(tenant.CheckID(id), CheckUser(user)); err != nil {
		return Explanation{}, err
	}
	docs, found, err := l.look(ctx, id, user)
	if err != nil {
		return Explanation{}, fmt.Errorf("explain %q: %w", id, err)
	}
	of := tenant.Explain(id, docs.Documents, docs.Flags, time.Now())
	keys := explainedKeys(of.Tenant, user)
	answers, known := found.under(of.Tenant, keys)
	if !known {
		queries := make([]limiter.Query, tenant.NumActions)
		for a, key := range keys {
			queries[a] = limiter.Query{Key: key, Limit: limitOf(of.Tenant, tenant.Action(a))}
		}
		if answers, err = l.Limiter.Answers(ctx, queries); err != nil {
			return Explanation{}, fmt.Errorf("explain %q: %w", id, err)
		}
	}
	e := Explanation{
		Community: of.Tenant.ID, StoredAs: id, Stored: of.Tenant.Stored, Tier: of.Tenant.Tier, Mode: of.Mode, Weight: of.Weight,
		Account:     of.Tenant.Account,
		TierSetting: of.Tier, Entitlement: NewExplainedEntitlement(of.Bought),
		Features: of.Features, Flags: of.Flags, Unusable: docs.Unusable,
		Verdict: verdictOf(of.Tenant, user, answers),
	}
	for a := range answers {
		e.Limits = append(e.Limits, explainLimit(&of, tenant.Action(a), &answers[a], user))
		e.Degraded = e.Degraded || answers[a].Usage.Degraded
	}
	return e, nil
}

// CheckUser returns a [*tenant.FieldError] if user cannot be the ID of a user; "" is no user.
func CheckUser(user string) error {
	if user == "" || tenant.ValidID(user) {
		return nil
	}
	return &tenant.FieldError{Field: "user", Reason: fmt.Sprintf("%.64q must be 1 to 128 letters, digits, '_', ':' or '-'", user)}
}

// explainedKeys are the limiter's keys of a community and one of its users, by action.
func explainedKeys(t *tenant.Tenant, user string) (keys [tenant.NumActions]string) {
	for _, a := range counted {
		keys[a] = limitKey(t, a)
	}
	keys[tenant.UserCommand] = UserKey(t.ID, user)
	return keys
}

// looks are how keys stand, by key.
type looks map[string]*limiter.Look

// look adds how the keys of a tenant and one of its users stand. What the calls read comes in the same round trip.
func (s looks) look(ctx context.Context, l *limiter.Limiter, t *tenant.Tenant, user string, calls ...*redisscript.Call) error {
	var windows [tenant.NumActions]time.Duration
	for a := range windows {
		windows[a] = tenant.Action(a).Window()
	}
	keys := explainedKeys(t, user)
	found, err := l.Look(ctx, keys[:], windows[:], calls...)
	if err != nil {
		return err
	}
	for i, look := range found {
		s[keys[i]] = look
	}
	for _, c := range calls {
		if c.Cmd == nil {
			return redishealth.ErrAway
		}
	}
	return nil
}

// under returns how the limits of a tenant stand, of which keys are the keys, or false if Redis must be asked for that.
func (s looks) under(t *tenant.Tenant, keys [tenant.NumActions]string) (answers []limiter.Answer, known bool) {
	answers = make([]limiter.Answer, len(keys))
	for a, key := range keys {
		look := s[key]
		if look == nil {
			return nil, false
		}
		if answers[a], known = look.Under(limitOf(t, tenant.Action(a))); !known {
			return nil, false
		}
	}
	return answers, true
}

// look reads the documents of id, and how its limits stand, in one round trip; if the config names an account, that
// account, and how its limits stand, in a second one.
func (l *Limits) look(ctx context.Context, id, user string) (store.Documents, looks, error) {
	reads := store.DocumentReads(id)
	calls := make([]*redisscript.Call, len(reads))
	for i, read := range reads {
		calls[i] = new(redisscript.Call)
		calls[i].Command(read.Command, read.Key)
	}
	found := make(looks)
	if err := found.look(ctx, l.Limiter, &tenant.Tenant{ID: id}, user, calls...); err != nil {
		return store.Documents{}, nil, err
	}
	var replies [len(reads)]*redis.Cmd
	for i, c := range calls {
		replies[i] = c.Cmd
	}
	docs, err := l.Tenants.Documents(ctx, id, replies)
	if err == nil && docs.Config != nil && docs.Config.Account != "" {
		err = l.lookAccount(ctx, id, user, &docs, found)
	}
	if redishealth.ServerFailed(err) {
		err = fmt.Errorf("%w: %w", redishealth.ErrAway, err)
	}
	return docs, found, err
}

// lookAccount adds the account that the config of id names to its documents.
func (l *Limits) lookAccount(ctx context.Context, id, user string, docs *store.Documents, found looks) error {
	read := new(redisscript.Call)
	read.Command("get", store.AccountKey(docs.Config.Account))
	together := &tenant.Tenant{
		ID:      cmp.Or(docs.Config.CommunityID, id),
		Account: &tenant.Membership{ID: docs.Config.Account, Counted: tenant.Together}, // if it is so, these keys count
	}
	if err := found.look(ctx, l.Limiter, together, user, read); err != nil {
		return err
	}
	return l.Tenants.SetAccount(ctx, docs, read.Cmd)
}

// verdictOf is what one more command gets, by the rules of decide.
func verdictOf(t *tenant.Tenant, user string, answers []limiter.Answer) ExplainedVerdict {
	a := &Admission{Action: tenant.Command, Limited: true, User: user, Tenant: t, LimitedBy: tenant.Command}
	if a.limitsUser() {
		a.user = &limiter.Request{Verdict: answers[tenant.UserCommand].Verdict}
	}
	a.Verdict = answers[tenant.Command].Verdict
	if a.refusedByUser() {
		a.Verdict, a.LimitedBy = a.user.Verdict, tenant.UserCommand
	}
	use := &answers[tenant.Command].Usage
	e := ExplainedVerdict{Decision: RateLimited, RetryAfterMS: milliseconds(a.Verdict.RetryAfter)}
	switch {
	case a.Verdict.Allowed:
		return ExplainedVerdict{Decision: Allowed}
	case a.Verdict.Unavailable:
		e.Decision = Unavailable
	case a.OverLimit() && use.Delayed < t.MaxDelayed[a.Action] && !answers[tenant.Command].Never:
		e.Decision = Delayed
	}
	e.Limit, e.Shadow = a.LimitedBy.String(), t.Shadow
	return e
}

func explainLimit(of *tenant.Explanation, a tenant.Action, answer *limiter.Answer, user string) ExplainedLimit {
	e := ExplainedLimit{Action: a.String(), Limit: of.Max[a], WindowMS: a.Window().Milliseconds()}
	u := &answer.Usage
	if u.Boost > 0 {
		e.Limit.Override(u.Limit, tenant.FromBoost)
		e.Boost = &Boost{Add: u.Boost, Until: of.Tenant.Boost(a).Until, LeftMS: u.BoostLeft.Milliseconds()}
	}
	if a == tenant.UserCommand {
		if user == "" {
			return e
		}
	} else {
		e.OnLimit, e.MaxDelayed = &of.OnLimit[a], &of.MaxDelayed
	}
	e.Use = &LimitUse{
		Used: u.Used, Remaining: u.Remaining, Delayed: u.Delayed, ResetMS: milliseconds(u.ResetAfter),
		RetryAfterMS: milliseconds(answer.Verdict.RetryAfter), Never: answer.Never,
	}
	return e
}

// milliseconds rounds up, so that a caller who waits that long is not early.
func milliseconds(d time.Duration) int64 { return (d + time.Millisecond - 1).Milliseconds() }
