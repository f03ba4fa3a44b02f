package view

import (
	"fmt"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/shard"
	"arrakis/tenant"
)

// Explanation says what a community may do now and why, and what a command would get.
type Explanation struct {
	Command string `json:"command,omitempty"` // as it was asked about; limits are the same for all commands
	User    string `json:"user,omitempty"`    // "" is a command without a user
	Summary string `json:"summary"`           // the verdict in a sentence, for people
	shard.Explanation
}

// NewExplanation makes the document of an explanation that was asked for a command, or for any command if it is "", of a
// user.
func NewExplanation(e shard.Explanation, command, user string) Explanation {
	v := Explanation{Command: command, User: user, Explanation: e}
	v.Summary = v.summary()
	return v
}

// CheckCommand returns a [*tenant.FieldError] if command cannot be the name of a command; "" is any command.
func CheckCommand(command string) error {
	if command == "" || contract.ValidCommand(command) {
		return nil
	}
	return &tenant.FieldError{Field: "command", Reason: fmt.Sprintf("%.64q must be 1 to 32 lower-case letters, digits, '_' or '-'", command)}
}

// summary is the verdict as a sentence.
func (e *Explanation) summary() string {
	verdict := &e.Verdict
	wait := waitText(verdict.RetryAfterMS)
	var text string
	switch verdict.Decision {
	case shard.Allowed:
		return "It would be handled now: " + e.room() + "."
	case shard.RateLimited:
		text = "It would be rejected now: " + e.used() + "."
		if use := e.limit(verdict.Limit).Use; use != nil && !use.Never {
			text += " A permit is free in " + wait + "."
		}
	case shard.Delayed:
		text = fmt.Sprintf("It would be delayed for %s, or rejected if its sender does not wait for so long: %s.", wait, e.used())
	case shard.Unavailable:
		text = "It would be refused with 503 now: Redis cannot be used, so limits cannot be checked, and LIMIT_ON_REDIS_DOWN is closed."
	}
	if verdict.Shadow {
		text += " But the mode is shadow: it is handled all the same, at once."
	}
	return text
}

// limit returns the limit of an action.
func (e *Explanation) limit(action string) *shard.ExplainedLimit {
	for i := range e.Limits {
		if e.Limits[i].Action == action {
			return &e.Limits[i]
		}
	}
	return new(shard.ExplainedLimit)
}

// used says that a limit is used up.
func (e *Explanation) used() string {
	whose := e.counted()
	if e.Verdict.Limit == tenant.UserCommand.String() {
		whose = "user"
	}
	l := e.limit(e.Verdict.Limit)
	if l.Limit.Value == 0 {
		return "the limit of the " + whose + " is 0"
	}
	return fmt.Sprintf("the %s has used %d of %d commands of the last minute", whose, l.Use.Used, l.Limit.Value)
}

// counted says who uses a limit up that is not a user's.
func (e *Explanation) counted() string {
	if e.Account != nil && e.Account.Counted == tenant.Together {
		return "account"
	}
	return "community"
}

// room says how much of a limit is left.
func (e *Explanation) room() string {
	l := e.limit(tenant.Command.String())
	if l.Limit.Value < 0 {
		return "the " + e.counted() + "'s commands are unlimited"
	}
	if l.Use == nil {
		return "its limit has room"
	}
	return fmt.Sprintf("%d of the %s's %d commands of the last minute are used", l.Use.Used, e.counted(), l.Limit.Value)
}

// waitText is a time in ms for people, rounded up to whole seconds.
func waitText(ms int64) string {
	return (time.Duration((ms+999)/1000) * time.Second).String()
}

// RuleText says for people which rule of a flag decided.
func RuleText(r tenant.Rule) string { return ruleTexts[r] }

var ruleTexts = map[tenant.Rule]string{
	tenant.RuleDisabled: "it is disabled", tenant.RuleExcluded: "the community is excluded",
	tenant.RuleIncluded: "the community is included", tenant.RuleTier: "it is for other tiers",
	tenant.RuleRollout: "its rollout", tenant.RuleOn: "it is on",
}
