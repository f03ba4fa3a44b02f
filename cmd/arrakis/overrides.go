package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// overrideFlags are the flags that set what a tenant or an account has of its own.
type overrideFlags struct {
	Commands   string            `placeholder:"LIMIT" help:"Commands a minute: a number, unlimited, or default for the limit of the account or the tier."`
	Checks     string            `placeholder:"LIMIT" help:"Eligibility checks an hour."`
	Syncs      string            `placeholder:"LIMIT" help:"Sync requests a day."`
	User       string            `placeholder:"LIMIT" help:"Commands a minute of each user."`
	OnLimit    string            `placeholder:"POLICY" help:"What happens to messages over the limit: reject, delay, or default for what the account or the tier does. With --data it can be set by action."`
	MaxDelayed string            `placeholder:"N" help:"How many messages of each action are delayed at a time: 1 to 10000, or default."`
	Mode       string            `placeholder:"MODE" help:"Whether limits are enforced: enforce, or shadow to only count what they would refuse (shadow_limited in the metrics), or default for the mode of the account or the tier."`
	Weight     string            `placeholder:"N" help:"Share of handler time while several communities have messages that wait: 1 to 100, or default for that of the account or the tier."`
	Feature    map[string]string `placeholder:"NAME=on" help:"Switch a feature: on, off or default. May be repeated."`
	Data       string            `placeholder:"JSON" help:"Members to change, as get --json prints them; null resets a member to the default."`
}

// patches makes JSON merge patches from the flags: one from --data, then one from all other flags. members are those of
// flags that only the command has; "" is a flag that is not given, and nil resets the member.
func (f *overrideFlags) patches(members map[string]any) ([][]byte, error) {
	var errs []error
	limits, features := map[string]any{}, map[string]any{}
	const limit = "a number from 0, unlimited or default"
	for _, n := range []struct {
		flag, member, value, expected string
		in                            map[string]any
	}{
		{"commands", "commandsPerMinute", f.Commands, limit, limits},
		{"checks", "eligibilityChecksPerHour", f.Checks, limit, limits},
		{"syncs", "syncRequestsPerDay", f.Syncs, limit, limits},
		{"user", "userCommandsPerMinute", f.User, limit, limits},
		{"max-delayed", "maxDelayed", f.MaxDelayed, "a number from 1 to 10000, or default", members},
		{"weight", "weight", f.Weight, "a number from 1 to 100, or default", members},
	} {
		if n.value == "" {
			continue
		}
		value, err := parseNumber(n.value)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s is %q: expected %s", n.flag, n.value, n.expected))
		}
		n.in[n.member] = value
	}
	for name, value := range f.Feature {
		on, known := map[string]any{"on": true, "off": false, "default": nil}[value]
		if !known {
			errs = append(errs, fmt.Errorf("--feature %s=%s: expected on, off or default", name, value))
		}
		features[name] = on
	}
	for member, value := range map[string]string{"onLimit": f.OnLimit, "mode": f.Mode} {
		if members[member] = value; value == "default" {
			members[member] = nil
		}
	}
	for member, values := range map[string]map[string]any{"rateLimits": limits, "features": features} {
		if len(values) > 0 {
			members[member] = values
		}
	}
	for member, value := range members {
		if value == "" {
			delete(members, member)
		}
	}
	var patches [][]byte
	if f.Data != "" {
		patches = append(patches, []byte(f.Data))
	}
	if len(members) > 0 {
		patch, err := json.Marshal(members)
		errs, patches = append(errs, err), append(patches, patch)
	}
	if len(patches) == 0 {
		errs = append(errs, errors.New("nothing to set: give a flag, such as --tier pro; --help has them all"))
	}
	return patches, errors.Join(errs...)
}

// parseNumber reads a limit, or another number, as the value of a member of a patch. nil resets the member to the default.
// The range is checked when the patch is merged.
func parseNumber(s string) (any, error) {
	switch s {
	case "unlimited":
		return -1, nil
	case "default":
		return nil, nil //nolint:nilnil // null is a value here
	}
	return strconv.ParseInt(s, 10, 64)
}

// merges makes the edit of a document that applies merge patches with merge.
func merges[T any](patches [][]byte, merge func(*T, []byte) error) func(*T) error {
	return func(document *T) error {
		for _, patch := range patches {
			if err := merge(document, patch); err != nil {
				return err
			}
		}
		return nil
	}
}
