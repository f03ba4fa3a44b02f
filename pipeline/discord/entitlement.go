package discord

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Entitlement is the right of a guild or a user to what an SKU of the application offers.
type Entitlement struct {
	ID       string
	SKU      string
	GuildID  string    // "" if it is a user's
	UserID   string    // "" if Discord has not sent it
	StartsAt time.Time // zero: since ever; test entitlements have no dates
	EndsAt   time.Time // zero: until Discord says otherwise
	Deleted  bool
	Consumed bool
}

// Community is the community that has the entitlement: the guild, or the user, as [Interaction.Community]; "" if Discord
// has sent neither.
func (e *Entitlement) Community() string {
	if e.GuildID == "" && e.UserID == "" {
		return ""
	}
	return communityOf(e.GuildID, e.UserID)
}

// receivedEntitlement is an entitlement as Discord sends it.
type receivedEntitlement struct {
	ID       string `json:"id"`
	SKU      string `json:"sku_id"`
	GuildID  string `json:"guild_id"`
	UserID   string `json:"user_id"`
	StartsAt string `json:"starts_at"`
	EndsAt   string `json:"ends_at"`
	Deleted  bool   `json:"deleted"`
	Consumed bool   `json:"consumed"`
}

// entitlement checks r, which is the member of the given name.
func (r *receivedEntitlement) entitlement(field string) (Entitlement, error) {
	e := Entitlement{ID: r.ID, SKU: r.SKU, GuildID: r.GuildID, UserID: r.UserID, Deleted: r.Deleted, Consumed: r.Consumed}
	for _, id := range []struct {
		name, value string
		required    bool
	}{{"id", r.ID, true}, {"sku_id", r.SKU, true}, {"guild_id", r.GuildID, false}, {"user_id", r.UserID, false}} {
		if id.value == "" && !id.required {
			continue
		}
		if err := checkID(field+"."+id.name, id.value); err != nil {
			return e, err
		}
	}
	var err error
	if e.StartsAt, err = parseTime(field+".starts_at", r.StartsAt); err != nil {
		return e, err
	}
	e.EndsAt, err = parseTime(field+".ends_at", r.EndsAt)
	return e, err
}

// parseTime reads a time of Discord; "" is none. Events have times without a zone, which are in UTC.
func parseTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, &ParseError{field, "expected a time such as 2022-09-14T17:00:18.704163+00:00"}
}

// ParseEntitlements reads a list of entitlements, as Discord answers it. An error is a *[ParseError].
func ParseEntitlements(list []byte) ([]Entitlement, error) {
	var received []receivedEntitlement
	if err := unmarshal(list, "", &received); err != nil {
		return nil, err
	}
	all := make([]Entitlement, 0, len(received))
	for i := range received {
		e, err := received[i].entitlement(strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// clearEntitlements reads those entitlements of a list whose form is known. unclear says that there may be others.
func clearEntitlements(list jsontext.Value) (all []Entitlement, unclear bool) {
	var elements []jsontext.Value
	if absent(list) || json.Unmarshal(list, &elements) != nil {
		return nil, true
	}
	for _, element := range elements {
		var received receivedEntitlement
		err := json.Unmarshal(element, &received)
		if err == nil {
			var e Entitlement
			if e, err = received.entitlement(""); err == nil {
				all = append(all, e)
			}
		}
		unclear = unclear || err != nil
	}
	return all, unclear
}
