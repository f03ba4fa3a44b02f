package discord

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTargetOfGateways(t *testing.T) {
	target := Target{ApplicationID: "1", InteractionID: "2", Token: "tok", Type: Command}
	of := func(typ Type) Target { t := target; t.Type = typ; return t }
	for _, tt := range []struct {
		name, data string
		want       *Target // nil for none
	}{
		{"a command by name", `{"application_id":"1","interaction_id":"2","interaction_token":"tok","interaction_type":"command"}`, &target},
		{"a component by number", `{"application_id":"1","interaction_id":"2","interaction_token":"tok","interaction_type":3}`, new(of(Component))},
		{"a component by Discord's name", `{"application_id":"1","interaction_id":"2","interaction_token":"tok","interaction_type":"MESSAGE_COMPONENT"}`, new(of(Component))},
		{"a modal by number in a string", `{"application_id":"1","interaction_id":"2","interaction_token":"tok","interaction_type":"5"}`, new(of(Modal))},
		{"no type", `{"application_id":"1","interaction_id":"2","interaction_token":"tok"}`, &target},
		{"no application", `{"interaction_id":"2","interaction_token":"tok"}`, &Target{InteractionID: "2", Token: "tok", Type: Command}},
		{"a channel and a locale", `{"interaction_id":"2","interaction_token":"tok","channel_id":"7","locale":"pt-BR"}`, &Target{InteractionID: "2", Token: "tok", Type: Command, Channel: "7", Locale: "pt-BR"}},
		{"a locale that is none", `{"interaction_id":"2","interaction_token":"tok","locale":"../x"}`, &Target{InteractionID: "2", Token: "tok", Type: Command}},
		{"no data", ``, nil},
		{"null", `null`, nil},
		{"no token", `{"interaction_id":"2"}`, nil},
		{"null for a token", `{"interaction_id":"2","interaction_token":null}`, nil},
		{"a token that was redacted", `{"interaction_id":"2","interaction_token":"[redacted]"}`, nil},
		{"a token elsewhere", `{"interaction_id":"2","options":{"interaction_token":"tok"}}`, nil},
		{"no ID", `{"interaction_token":"tok"}`, nil},
		{"an ID that is a path", `{"interaction_id":"../2","interaction_token":"tok"}`, nil},
		{"an application that is a path", `{"application_id":"../2","interaction_id":"2","interaction_token":"tok"}`, nil},
		{"a channel that is a path", `{"channel_id":"../2","interaction_id":"2","interaction_token":"tok"}`, nil},
		{"a list", `["interaction_token"]`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := TargetOf([]byte(tt.data))
			if want := tt.want != nil; ok != want {
				t.Fatalf("TargetOf reports %t, want %t", ok, want)
			}
			if tt.want != nil {
				if diff := cmp.Diff(*tt.want, got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			}
		})
	}
}

func TestCreated(t *testing.T) {
	// The example of Discord's reference.
	if at, ok := Created("175928847299117063"); !ok || !at.Equal(time.UnixMilli(1_462_015_105_796)) {
		t.Errorf("Created = %v, %t", at, ok)
	}
	for _, id := range []string{"", "x", "-1", "+1", "99999999999999999999"} {
		if at, ok := Created(id); ok {
			t.Errorf("Created(%q) = %v, want none", id, at)
		}
	}
}
