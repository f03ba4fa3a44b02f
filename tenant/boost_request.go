package tenant

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The range of the time for which a boost can be asked.
const (
	minBoost = time.Second
	maxBoost = 31 * 24 * time.Hour
)

// BoostRequest asks for boosts that begin now, and end together. It replaces the boosts of the limits that it names.
type BoostRequest struct {
	// RateLimits are the permits to add, 1 or more, of one limit at least.
	RateLimits LimitOverrides `json:"rateLimits"`
	// For is how long the boosts last, as [time.ParseDuration] reads it, such as 2h: 1 s to 744 h (31 days).
	For     string         `json:"for"`
	Unknown jsontext.Value `json:",embed"` // always empty: a request comes from a user
}

// ParseBoostRequest reads a request that a user gives, as strictly as [ParseConfig].
func ParseBoostRequest(data []byte) (BoostRequest, error) { return parse[BoostRequest](data, true) }

// Validate reports the faults for which a store refuses the request. The error is as for [ParseConfig].
func (r *BoostRequest) Validate() error { return validate(r) }

// Begin puts the boosts into the config. now is a time of Redis's clock. The request must be valid.
func (r *BoostRequest) Begin(c *Config, now time.Time) {
	last, _ := time.ParseDuration(r.For) // Validate has seen it
	c.Boosts = c.Boosts.clone()
	boosts := c.Boosts.Fields()
	for action, add := range r.RateLimits.fields() {
		if *add != nil {
			boosts[action].Add, boosts[action].Until = **add, now.Add(last)
		}
	}
}

func (r *BoostRequest) validate(f *faults) {
	for action, p := range r.RateLimits.fields() {
		if add := *p; add != nil && (*add < 1 || *add > maxLimit) {
			f.add(join("rateLimits", limitNames[action]), "must be from 1 to %d", maxLimit)
		}
	}
	if !r.RateLimits.Any() && len(f.list) == 0 {
		f.add("rateLimits", "names no limit to boost, such as commandsPerMinute")
	}
	if d, err := time.ParseDuration(r.For); err != nil || d < minBoost || d > maxBoost {
		f.add("for", "must be a time such as 90m or 2h, from 1s to 744h (31 days)")
	}
}
