package discord

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNext(t *testing.T) {
	target := Target{InteractionID: "1", Token: "t"}
	a := &Answer{
		Target: target, Way: Edit, Response: Response{Type: ResponseUpdate}, Refusal: true,
		FollowUps: []json.RawMessage{json.RawMessage(`{"content":"1"}`), json.RawMessage(`{"content":"2"}`)},
	}
	var got []*Answer
	for next := Next(a); next != nil; next = Next(next) {
		got = append(got, next)
	}
	want := []*Answer{
		{
			Target: target, Way: FollowUp, Response: Response{Type: ResponseMessage, Data: json.RawMessage(`{"content":"1"}`)},
			FollowUps: []json.RawMessage{json.RawMessage(`{"content":"2"}`)},
		},
		{Target: target, Way: FollowUp, Response: Response{Type: ResponseMessage, Data: json.RawMessage(`{"content":"2"}`)}, FollowUps: []json.RawMessage{}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
