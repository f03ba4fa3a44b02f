package tenant

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// OnLimit says what happens to a message that is over the limit of its community.
type OnLimit string

// What can happen to a message over the limit. Reject is the default.
const (
	Reject OnLimit = "reject" // its sender is told so
	Delay  OnLimit = "delay"  // it is kept, and handled when a permit is free for it
)

const (
	onLimitNames = "delay or reject"

	// defaultMaxDelayed is how many messages of one action are delayed at a time, unless a document says otherwise.
	defaultMaxDelayed = 100
	// highestMaxDelayed is the highest maxDelayed that a document may set.
	highestMaxDelayed = 10_000
)

// OnLimitOverrides say by action what happens to messages over the limit. nil keeps the tier's default. The JSON is an
// object with the names of actions, or one string for all of them. A user's own limit always rejects, so user_command
// is not among them.
type OnLimitOverrides struct {
	Command          *OnLimit       `json:"command,omitempty"`
	EligibilityCheck *OnLimit       `json:"eligibility_check,omitempty"`
	SyncRequest      *OnLimit       `json:"sync_request,omitempty"`
	Unknown          jsontext.Value `json:",embed"`
}

// fields returns the overrides, indexed by action.
func (o *OnLimitOverrides) fields() [SyncRequest + 1]**OnLimit {
	return [...]**OnLimit{Command: &o.Command, EligibilityCheck: &o.EligibilityCheck, SyncRequest: &o.SyncRequest}
}

// read reads the form that is no object.
func (o *OnLimitOverrides) read(dec *jsontext.Decoder, f *faults, field string) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	var all OnLimit
	if err := json.Unmarshal(raw, &all); err != nil {
		f.add(field, "must be %s, or a JSON object with either by action", onLimitNames)
		return nil //nolint:nilerr // f has it
	}
	o.set(all)
	return nil
}

// set gives all actions the same override.
func (o *OnLimitOverrides) set(v OnLimit) {
	for _, p := range o.fields() {
		*p = &v
	}
}

// MarshalJSON writes one string where all actions have the same override.
func (o OnLimitOverrides) MarshalJSON() ([]byte, error) {
	if v := o.Command; v != nil && o.Unknown == nil {
		all := OnLimitOverrides{}
		all.set(*v)
		if o.equal(&all) {
			return json.Marshal(*v)
		}
	}
	type plain OnLimitOverrides // without this method
	return json.Marshal(plain(o))
}

// equal compares the overrides of the actions.
func (o *OnLimitOverrides) equal(other *OnLimitOverrides) bool {
	theirs := other.fields()
	for action, p := range o.fields() {
		if v, w := *p, *theirs[action]; (v == nil) != (w == nil) || v != nil && *v != *w {
			return false
		}
	}
	return true
}

func (o *OnLimitOverrides) validate(f *faults, field string) {
	for action, p := range o.fields() {
		if v := *p; v != nil && *v != Delay && *v != Reject {
			f.add(join(field, actionNames[action]), "is unknown: %q; use %s", shorten(string(*v)), onLimitNames)
		}
	}
}

func validateMaxDelayed(f *faults, field string, n *int64) {
	if n != nil && (*n < 1 || *n > highestMaxDelayed) {
		f.add(field, "must be from 1 to %d", highestMaxDelayed)
	}
}
