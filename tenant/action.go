package tenant

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is the kind of work that a message asks for. Each action has its own limit.
type Action uint8

// The actions. UserCommand stands for the commands of one user in a community. It is unlimited unless a config sets a
// limit.
const (
	Command Action = iota
	EligibilityCheck
	SyncRequest
	UserCommand

	// NumActions is the number of actions.
	NumActions = 4
)

var actionNames = [NumActions]string{"command", "eligibility_check", "sync_request", "user_command"}

var actionWindows = [NumActions]time.Duration{time.Minute, time.Hour, 24 * time.Hour, time.Minute}

// ParseAction finds an action by its wire name, such as "command".
func ParseAction(s string) (Action, error) {
	if i := slices.Index(actionNames[:], s); i >= 0 {
		return Action(i), nil //nolint:gosec // i is below NumActions
	}
	return 0, fmt.Errorf("unknown action %q: use one of %s", s, strings.Join(actionNames[:], ", "))
}

// String is the wire name: command, eligibility_check, sync_request or user_command.
func (a Action) String() string {
	if a >= NumActions {
		return fmt.Sprintf("action(%d)", uint8(a))
	}
	return actionNames[a]
}

// Window is the length of the sliding window in which the action is counted:
// 60 s, 1 h, 24 h or 60 s. It panics for an unknown action.
func (a Action) Window() time.Duration { return actionWindows[a] }
