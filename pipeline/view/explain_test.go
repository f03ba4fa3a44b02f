package view_test

import (
	"strings"
	"testing"

	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
)

// In an account that counts together, it is the account that uses a limit up.
func TestSummaryOfAnAccount(t *testing.T) {
	e := shard.Explanation{
		Account: &tenant.Membership{ID: "acme", Counted: tenant.Together},
		Limits:  []shard.ExplainedLimit{{Action: "command", Limit: tenant.Setting[int64]{Value: 10}, Use: &shard.LimitUse{Used: 10}}},
	}
	for decision, want := range map[shard.Decision]string{
		shard.Allowed:     "10 of the account's 10 commands of the last minute are used",
		shard.RateLimited: "the account has used 10 of 10 commands of the last minute",
	} {
		e.Verdict = shard.ExplainedVerdict{Decision: decision, Limit: "command"}
		if got := view.NewExplanation(e, "ping", "").Summary; !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", decision, got, want)
		}
	}
}

// The summary says the verdict in a sentence.
func TestSummary(t *testing.T) {
	limit := func(action string, value, used int64) shard.ExplainedLimit {
		return shard.ExplainedLimit{
			Action: action, Limit: tenant.Setting[int64]{Value: value, Source: tenant.FromDefault}, Use: &shard.LimitUse{Used: used},
		}
	}
	for _, tt := range []struct {
		limit, used, ofUser int64
		verdict             shard.ExplainedVerdict
		want                string
	}{
		{10, 3, -1, shard.ExplainedVerdict{Decision: shard.Allowed}, "It would be handled now: 3 of the community's 10 commands of the last minute are used."},
		{-1, 0, -1, shard.ExplainedVerdict{Decision: shard.Allowed}, "It would be handled now: the community's commands are unlimited."},
		{
			10, 10, -1,
			shard.ExplainedVerdict{Decision: shard.RateLimited, Limit: "command", RetryAfterMS: 11_001},
			"It would be rejected now: the community has used 10 of 10 commands of the last minute. A permit is free in 12s.",
		},
		{
			10, 3, 2,
			shard.ExplainedVerdict{Decision: shard.RateLimited, Limit: "user_command", RetryAfterMS: 60_000},
			"It would be rejected now: the user has used 2 of 2 commands of the last minute. A permit is free in 1m0s.",
		},
		{0, 0, -1, shard.ExplainedVerdict{Decision: shard.RateLimited, Limit: "command", RetryAfterMS: 60_000}, "It would be rejected now: the limit of the community is 0."},
		{
			10, 12, -1,
			shard.ExplainedVerdict{Decision: shard.Delayed, Limit: "command", RetryAfterMS: 5_000},
			"It would be delayed for 5s, or rejected if its sender does not wait for so long: the community has used 12 of 10 commands of the last minute.",
		},
		{
			10, 10, -1,
			shard.ExplainedVerdict{Decision: shard.RateLimited, Limit: "command", RetryAfterMS: 1, Shadow: true},
			"A permit is free in 1s. But the mode is shadow: it is handled all the same, at once.",
		},
		{10, 0, -1, shard.ExplainedVerdict{Decision: shard.Unavailable, Limit: "command"}, "It would be refused with 503 now: Redis cannot be used"},
	} {
		e := shard.Explanation{Verdict: tt.verdict, Limits: []shard.ExplainedLimit{limit("command", tt.limit, tt.used), limit("user_command", tt.ofUser, tt.ofUser)}}
		if got := view.NewExplanation(e, "ping", "42").Summary; !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.verdict, got, tt.want)
		}
	}
}
