// Package workload is what every contender gets: the same communities, the same limits and the same messages, byte for
// byte, for the same seed.
package workload

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"arrakis/tenant"
)

// Communities is how many communities there are unless a section says otherwise.
const Communities = 100

// Window is the window of every limit on commands.
const Window = time.Minute

// Unlimited is the limit of a community that has none.
const Unlimited = -1

// Mix says which limits the communities have.
type Mix string

const (
	// Tiers is a tenth enterprise (unlimited), a fifth pro (100 a minute) and the rest free (10 a minute): under load
	// almost all is refused.
	Tiers Mix = "tiers"
	// Admitted gives every community 10,000 a minute: every message is admitted, and charged.
	Admitted Mix = "admitted"
	// Steady is a tenth unlimited, and one a minute for the rest: after one message each, a tenth is admitted and the
	// rest refused, however many communities there are.
	Steady Mix = "steady"
	// Open has no limits.
	Open Mix = "open"
	// Raised gives enterprise no limit, and pro and free 1,000,000 a minute: every message of any of them is admitted,
	// and charged unless the tier has no limit.
	Raised Mix = "raised"
)

// Limit is how many commands a minute community i has, or Unlimited.
func (m Mix) Limit(i int) int64 {
	switch {
	case m == Admitted:
		return 10_000
	case m == Open || i%100 < 10:
		return Unlimited
	case m == Steady:
		return 1
	case m == Raised:
		return 1_000_000
	case i%100 < 30:
		return 100
	default:
		return 10
	}
}

// Tier is the tier of community i.
func (m Mix) Tier(i int) tenant.Tier {
	switch {
	case i%100 < 10:
		return tenant.Enterprise
	case i%100 < 30:
		return tenant.Pro
	default:
		return tenant.Free
	}
}

// Document is the tenant document of community i, as Redis stores it.
func (m Mix) Document(i int) string {
	limits := ""
	if m != Tiers {
		limits = fmt.Sprintf(`,"rateLimits":{"commandsPerMinute":%d}`, m.Limit(i))
	}
	return fmt.Sprintf(`{"communityId":%q,"tier":%q%s}`, ID(i), m.Tier(i), limits)
}

// idPrefix begins every community's ID.
const idPrefix = "comm_"

// ID is the ID of community i, comm_000 upward.
func ID(i int) string { return fmt.Sprintf("%s%03d", idPrefix, i) }

// Index is the number in a community's ID, or an error for any other text.
func Index(id string) (int, error) {
	if len(id) <= len(idPrefix) || id[:len(idPrefix)] != idPrefix {
		return 0, fmt.Errorf("%q is no community of the benchmark", id)
	}
	i, err := strconv.Atoi(id[len(idPrefix):])
	if err != nil {
		return 0, fmt.Errorf("%q is no community of the benchmark: %w", id, err)
	}
	return i, nil
}

// Picker picks communities evenly, in the same random order for the same seed.
type Picker struct {
	rng *rand.Rand
	n   int
}

// NewPicker returns a picker among n communities.
func NewPicker(seed uint64, n int) *Picker {
	return &Picker{rng: rand.New(rand.NewPCG(seed, 0)), n: n} //nolint:gosec // repeatable on purpose
}

// Next is the next community.
func (p *Picker) Next() int { return p.rng.IntN(p.n) }
