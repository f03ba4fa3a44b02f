package discord

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// entitlementEvent is the example of Discord's documentation.
const entitlementEvent = `{"version":1,"application_id":"1234560123453231555","type":1,"event":{"type":"ENTITLEMENT_CREATE",
	"timestamp":"2024-10-18T18:41:21.109604","data":{"application_id":"1234560123453231555","consumed":false,"deleted":false,
	"gift_code_flags":0,"id":"1234505980407808808","promotion_id":null,"sku_id":"123489045643835123","type":4,"user_id":"111178765189277770"}}}`

func TestParseEvent(t *testing.T) {
	at := time.Date(2024, 10, 18, 18, 41, 21, 109_604_000, time.UTC)
	bought := Entitlement{ID: "1234505980407808808", SKU: "123489045643835123", UserID: "111178765189277770"}
	deleted := bought
	deleted.Deleted = true
	for _, tt := range []struct {
		name, body string
		want       Event
	}{
		{"a ping", `{"version":1,"application_id":"1","type":0}`, Event{}},
		{"bought", entitlementEvent, Event{"ENTITLEMENT_CREATE", at, &bought}},
		{"deleted, by its type", strings.Replace(entitlementEvent, "CREATE", "DELETE", 1), Event{"ENTITLEMENT_DELETE", at, &deleted}},
		{"deleted, by its data", strings.Replace(entitlementEvent, `"deleted":false`, `"deleted":true`, 1), Event{"ENTITLEMENT_CREATE", at, &deleted}},
		{"another event", `{"type":1,"event":{"type":"APPLICATION_AUTHORIZED","timestamp":"2024-10-18T18:41:21.109604Z","data":[]}}`, Event{"APPLICATION_AUTHORIZED", at, nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseEvent([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestParseEventRefuses(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"nothing", ``, "expected one JSON object"},
		{"no type", `{}`, "type: is missing"},
		{"an interaction's type", `{"type":2}`, "type: expected 0 or 1"},
		{"no event", `{"type":1}`, "event.type: is missing"},
		{"no data", `{"type":1,"event":{"type":"ENTITLEMENT_CREATE"}}`, "event.data: is missing"},
		{"an SKU as a number", strings.Replace(entitlementEvent, `"123489045643835123"`, `1`, 1), "event.data.sku_id: has the wrong type"},
		{"no SKU", strings.Replace(entitlementEvent, `"sku_id"`, `"sku"`, 1), "event.data.sku_id: expected an ID"},
		{"a time that is none", strings.Replace(entitlementEvent, `2024-10-18T18:41:21.109604`, `now`, 1), "event.timestamp: expected a time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseEvent([]byte(tt.body))
			if _, ok := errors.AsType[*ParseError](err); !ok || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("ParseEvent returned %v, want an error that begins with %q", err, tt.want)
			}
		})
	}
}

func TestEntitlementsOfAnInteraction(t *testing.T) {
	i, err := Parse(corpus(t)["command-entitlements"])
	if err != nil {
		t.Fatal(err)
	}
	want := []Entitlement{{
		ID: "1019653849998299136", SKU: "1019475255913222144", GuildID: "290926798626357999", UserID: "53908232506183680",
		StartsAt: time.Date(2022, 9, 14, 17, 0, 18, 704_163_000, time.UTC), EndsAt: time.Date(2022, 10, 14, 17, 0, 18, 704_163_000, time.UTC),
	}, {ID: "1019653849998299137", SKU: "1019475255913222145", UserID: "53908232506183680"}}
	if diff := cmp.Diff(want, i.Entitlements); diff != "" || i.EntitlementsUnclear {
		t.Errorf("unclear: %t, (-want +got)\n%s", i.EntitlementsUnclear, diff)
	}
}

// An interaction is answered, whatever its entitlements are like.
func TestUnclearEntitlements(t *testing.T) {
	const command = `{"id":"1","application_id":"2","token":"t","type":2,"guild_id":"3","member":{"user":{"id":"5"}},` +
		`"data":{"id":"6","name":"ping","type":1}}`
	known := []Entitlement{{ID: "1", SKU: "2"}}
	for _, tt := range []struct {
		name, member string
		want         []Entitlement
	}{
		{"none are sent", ``, nil},
		{"null", `,"entitlements":null`, nil},
		{"an object", `,"entitlements":{}`, nil},
		{"no objects", `,"entitlements":[null,[],"1",{"id":"1","sku_id":"2"}]`, known},
		{"no SKU", `,"entitlements":[{"id":"3"},{"id":"1","sku_id":"2"}]`, known},
		{"an ID as a number", `,"entitlements":[{"id":"1","sku_id":"2"},{"id":3,"sku_id":"2"}]`, known},
		{"it ends some time", `,"entitlements":[{"id":"3","sku_id":"2","ends_at":"soon"},{"id":"1","sku_id":"2"}]`, known},
	} {
		i, err := Parse([]byte(strings.Replace(command, `,"guild_id"`, tt.member+`,"guild_id"`, 1)))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, i.Entitlements); diff != "" || !i.EntitlementsUnclear {
			t.Errorf("%s: unclear: %t, (-want +got)\n%s", tt.name, i.EntitlementsUnclear, diff)
		}
	}
}

func TestParseEntitlements(t *testing.T) {
	got, err := ParseEntitlements([]byte(`[{"id":"1","sku_id":"2","guild_id":"3"}]`))
	if want := []Entitlement{{ID: "1", SKU: "2", GuildID: "3"}}; err != nil || !cmp.Equal(want, got) {
		t.Errorf("ParseEntitlements returned %v, %v", got, err)
	}
	for _, list := range []string{``, `{}`, `null,`, `[{"id":"1"}]`} {
		if got, err := ParseEntitlements([]byte(list)); err == nil {
			t.Errorf("ParseEntitlements(%s) returned %v and no error", list, got)
		}
	}
}
