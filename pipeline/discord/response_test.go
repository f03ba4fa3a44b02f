package discord

import (
	"encoding/json"
	"testing"

	"arrakis/pipeline/contract"
)

// isStrict reports whether text can be a handler's result.
func isStrict(text []byte) bool {
	got, err := contract.Result(text)
	return err == nil && string(got) == string(text)
}

func TestDeferral(t *testing.T) {
	for _, tt := range []struct {
		typ       Type
		ephemeral bool
		want      string
	}{
		{Command, false, `{"type":5}`},
		{Command, true, `{"type":5,"data":{"flags":64}}`},
		{Modal, true, `{"type":5,"data":{"flags":64}}`},
		{Component, false, `{"type":6}`},
		{Component, true, `{"type":6}`},
	} {
		r := Deferral(tt.typ, tt.ephemeral)
		if got := string(r.Inline()); got != tt.want {
			t.Errorf("Deferral(%s, %t) = %s, want %s", tt.typ, tt.ephemeral, got, tt.want)
		}
	}
}

func TestMessageIsForAnEdit(t *testing.T) {
	for _, tt := range []struct {
		data, want string
		ephemeral  bool
	}{
		{`{"content":"x"}`, `{"content":"x"}`, false},
		{`{"content":"x","flags":4}`, `{"content":"x","flags":4}`, false},
		{`{"content":"x","flags":64}`, `{"content":"x"}`, true},
		{`{"content":"x","flags":32836}`, `{"content":"x","flags":32772}`, true}, // 32768 and 4 stay
		{`{"content":"x","flags":4096}`, `{"content":"x"}`, false},
		{`{"content":"x","flags":"64"}`, `{"content":"x","flags":"64"}`, false},
	} {
		r := Response{Type: ResponseUpdate, Data: json.RawMessage(tt.data)}
		if got := string(r.Message()); got != tt.want {
			t.Errorf("the edit for %s is %s, want %s", tt.data, got, tt.want)
		}
		if got := r.Ephemeral(); got != tt.ephemeral {
			t.Errorf("%s is ephemeral: %t, want %t", tt.data, got, tt.ephemeral)
		}
	}
}

// An answer takes the place of all that progress has shown; an update changes what it names.
func TestEditReplacesTheMessage(t *testing.T) {
	const data = `{"embeds":[{"title":"x"}]}`
	for typ, want := range map[ResponseType]string{
		ResponseMessage: `{"components":null,"content":null,"embeds":[{"title":"x"}]}`,
		ResponseUpdate:  data,
	} {
		r := Response{Type: typ, Data: json.RawMessage(data)}
		if got := string(r.Message()); got != want {
			t.Errorf("the edit for type %d is %s, want %s", typ, got, want)
		}
	}
}

// A late answer takes the place of the deferral. What is no update must not take that of a component's message.
func TestLateWay(t *testing.T) {
	for _, tt := range []struct {
		typ      Type
		response ResponseType
		want     Way
	}{
		{Command, ResponseMessage, Edit},
		{Modal, ResponseMessage, Edit},
		{Modal, ResponseUpdate, Edit},
		{Component, ResponseUpdate, Edit},
		{Component, ResponseMessage, FollowUp},
	} {
		r := Response{Type: tt.response}
		if got := r.LateWay(tt.typ); got != tt.want {
			t.Errorf("type %d to a %s goes as %s, want %s", tt.response, tt.typ, got, tt.want)
		}
	}
}
