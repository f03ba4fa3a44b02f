package tenant

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxName is the number of characters of the longest name of an account.
const maxName = 100

// Account is the document of an account: several communities that share one subscription. A community is in an account if
// its config names it ([Config.Account]).
//
// An account says the tier of its communities: while a config names an account that is stored, neither its own tier nor
// what was bought on Discord for the community counts. Both stay in the config, and count again when it leaves the account.
// All else that the account sets lies between the document of all tiers and the config: a config may override it.
type Account struct {
	// Name is for people, up to 100 characters.
	Name string `json:"name,omitempty"`
	Tier Tier   `json:"tier"`
	// Counted says how the limits of the communities are counted. Empty is Each.
	Counted    Counting         `json:"counted,omitempty"`
	Features   FeatureOverrides `json:"features"`
	RateLimits LimitOverrides   `json:"rateLimits"`
	OnLimit    OnLimitOverrides `json:"onLimit,omitzero"`     // as in Config
	MaxDelayed *int64           `json:"maxDelayed,omitempty"` // as in Config
	Mode       *Mode            `json:"mode,omitempty"`       // as in Config
	Weight     *int64           `json:"weight,omitempty"`     // of each of its communities
	// The store sets CreatedAt and UpdatedAt.
	CreatedAt time.Time      `json:"createdAt,omitzero"`
	UpdatedAt time.Time      `json:"updatedAt,omitzero"`
	Unknown   jsontext.Value `json:",embed"` // members that arrakis does not know, as in Config
}

// Counting says how the limits of an account's communities are counted.
type Counting string

// The ways of counting. Each is the default.
const (
	// Each counts for each community by itself: each has the whole of a limit.
	Each Counting = "each"
	// Together counts for all communities of the account together: they share one limit. Only the limit of each user is
	// counted for each community all the same.
	Together Counting = "together"
)

const countingNames = "each or together"

// Membership says in which account a community is.
type Membership struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Counted is empty if there is no such account: then the config alone counts, as if it named none.
	Counted Counting `json:"counted,omitempty"`
}

// noAccount is the account of a community that is in none.
var noAccount = new(Account)

// ParseAccount reads an account that a user gives, as strictly as [ParseConfig].
func ParseAccount(data []byte) (Account, error) { return parse[Account](data, true) }

// Merge applies data to the account as a JSON merge patch, as strictly as [ParseAccount]. On an error the account is
// unchanged.
func (a *Account) Merge(data []byte) error {
	next := *a
	if err := read(data, &next, true); err != nil {
		return err
	}
	*a = next
	return nil
}

// Validate reports the faults for which a store refuses the account. The error is as for [ParseAccount].
func (a *Account) Validate() error { return validate(a) }

func (a *Account) validate(f *faults) {
	if utf8.RuneCountInString(a.Name) > maxName {
		f.add("name", "has %d characters, at most %d are accepted", utf8.RuneCountInString(a.Name), maxName)
	}
	for _, r := range a.Name {
		if !unicode.IsPrint(r) {
			f.add("name", "has a character that cannot be seen: %U", r)
		}
	}
	validateTier(f, "tier", a.Tier)
	if a.Counted != "" && a.Counted != Each && a.Counted != Together {
		f.add("counted", "is unknown: %q; use %s", shorten(string(a.Counted)), countingNames)
	}
	a.RateLimits.validate(f, "rateLimits")
	a.OnLimit.validate(f, "onLimit")
	validateMaxDelayed(f, "maxDelayed", a.MaxDelayed)
	validateMode(f, "mode", a.Mode)
	validateWeight(f, "weight", a.Weight)
}

// CheckAccountID returns a [*FieldError] if id cannot be the ID of an account. It is formed as the ID of a community.
func CheckAccountID(id string) error { return checkID("account", id) }

// accountMark begins the ID under which the admissions of an account are counted. No ID of a community has it.
const accountMark = "@"

// AccountLimitID is the ID under which the admissions of an account's communities are counted together.
func AccountLimitID(account string) string { return accountMark + account }

// CheckLimitID returns a [*FieldError] if id cannot be a [Tenant.LimitID].
func CheckLimitID(id string) error { return CheckID(strings.TrimPrefix(id, accountMark)) }
