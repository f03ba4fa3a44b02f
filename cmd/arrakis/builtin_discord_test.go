package main

import (
	"encoding/json"
	"strings"
	"testing"

	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
)

// TestBuiltinInDiscord: what the built-in commands return is what Discord takes, for each type of interaction.
func TestBuiltinInDiscord(t *testing.T) {
	t.Parallel()
	d := &demo{}
	for _, tt := range []struct {
		name    string
		handler pipeline.Handler
		typ     discord.Type
		data    string
		want    discord.ResponseType
		shows   string
	}{
		{"ping", toDiscord(d.ping, d.shownPing), discord.Command, `{"interaction_type":"command"}`, discord.ResponseMessage, `"content":"pong"`},
		{"panel", d.panel, discord.Command, `{"interaction_type":"command"}`, discord.ResponseMessage, `"custom_id":"panel:house"`},
		{"button", d.panel, discord.Component, `{"interaction_type":"component","custom_id":"panel:harvest"}`, discord.ResponseUpdate, "Harvested <t:"},
		{"menu", d.panel, discord.Component, `{"interaction_type":"component","custom_id":"panel:house","values":["Corrino"]}`, discord.ResponseUpdate, "House **Corrino** it is."},
		{"form", d.panel, discord.Component, `{"interaction_type":"component","custom_id":"panel:name"}`, discord.ResponseModal, `"custom_id":"panel:name"`},
		{"sent form", d.panel, discord.Modal, `{"interaction_type":"modal","custom_id":"panel:name","fields":{"name":"Usul"}}`, discord.ResponseMessage, "Well met, **Usul**."},
	} {
		m := &pipeline.Message{Envelope: contract.Envelope{Data: []byte(tt.data)}}
		result, err := tt.handler(t.Context(), m)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		text, err := json.Marshal(result)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		r := discord.Format(tt.typ, text)
		if r.Type != tt.want || !strings.Contains(string(r.Data), tt.shows) {
			t.Errorf("%s: %d %s", tt.name, r.Type, r.Data)
		}
	}
	plain, err := toDiscord(d.ping, d.shownPing)(t.Context(), &pipeline.Message{Envelope: contract.Envelope{Data: []byte(`{"command_name":"ping"}`)}})
	if text, _ := json.Marshal(plain); err != nil || string(text) != `{"message":"pong"}` {
		t.Errorf("plain ping: %s, %v", text, err)
	}
}
