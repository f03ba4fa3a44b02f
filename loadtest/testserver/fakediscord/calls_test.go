package fakediscord_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

func TestDeferredAnswer(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	i, err := w.Send(t.Context(), w.endpoint(reply(`{"type":5,"data":{"flags":64}}`)), fakediscord.Slash("ping", "text", "hi").In("1", "2"))
	if err != nil {
		t.Fatal(err)
	}
	if m := w.Messages("2"); len(m) != 1 || !m[0].Thinking || !m[0].Ephemeral || m[0].Did != "/ping text:hi" {
		t.Errorf("the channel shows %+v, want one that thinks", m)
	}
	want(t, "callback", w.callback(i.Issued, `{"type":4,"data":{"content":"x"}}`), [2]int{400, 40060})
	want(t, "empty edit", w.edit(i.Issued, `{}`), [2]int{400, 50006})
	want(t, "edit of an unknown message", w.webhook("PATCH", i.Issued, "/messages/1", `{"content":"x"}`), [2]int{404, 10008})
	want(t, "open", w.Totals().Open, 1)
	want(t, "edit", w.edit(i.Issued, `{"content":"half","flags":0}`), [2]int{200, 0})
	want(t, "second edit", w.edit(i.Issued, `{"content":"pong"}`), [2]int{200, 0})
	want(t, "follow-up", w.webhook("POST", i.Issued, "", `{"content":"more","flags":64}`), [2]int{200, 0})
	m := w.Messages("2")
	if len(m) != 2 || m[0].Content != "pong" || m[0].Thinking || !m[0].Ephemeral || m[1].Content != "more" {
		t.Errorf("the channel shows %+v", m)
	}
	want(t, "edit of the follow-up", w.webhook("PATCH", i.Issued, "/messages/"+m[1].ID, `{"content":"most"}`), [2]int{200, 0})
	want(t, "deletion", w.webhook("DELETE", i.Issued, "/messages/@original", ""), [2]int{204, 0})
	want(t, "read after it", w.webhook("GET", i.Issued, "/messages/@original", ""), [2]int{404, 10008})
	if m := w.Messages("2"); len(m) != 1 || m[0].Content != "most" || m[0].Edited.IsZero() {
		t.Errorf("the channel shows %+v", m)
	}
	var kinds []fakediscord.Kind
	h, _ := w.History(i.ID)
	for _, e := range h.Events {
		kinds = append(kinds, e.Kind)
	}
	want(t, "history", kinds, []fakediscord.Kind{"inline", "edit", "edit", "followup", "edit", "delete"})
	totals := w.Totals()
	want(t, "totals", totals, fakediscord.Totals{
		Issued: 1, Edited: 1, Deferred: 1, Callbacks: 1, Edits: 5, FollowUps: 1, Others: 2, Refused: 4,
	})
}

// The first follow-up after a deferral replaces it.
func TestFollowUpReplacesADeferral(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	i := w.Issue(fakediscord.Slash("ping").In("1", "2"))
	want(t, "deferral", w.callback(i, `{"type":5}`), [2]int{204, 0})
	want(t, "follow-up", w.webhook("POST", i, "", `{"content":"pong"}`), [2]int{200, 0})
	if m := w.Messages("2"); len(m) != 1 || m[0].Content != "pong" || m[0].Thinking {
		t.Errorf("the channel shows %+v", m)
	}
}

func TestUpdateOfAComponentsMessage(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	first := w.Issue(fakediscord.Slash("ping").In("1", "2"))
	want(t, "callback", w.callback(first, `{"type":4,"data":{"content":"press","components":[{"type":1}]}}`), [2]int{204, 0})
	message := w.Messages("2")[0]
	press := w.Issue(fakediscord.Press(message.ID, "b").In("1", "2"))
	if !bytes.Contains(press.Body, []byte(`"content":"press"`)) {
		t.Errorf("the interaction lacks its message: %s", press.Body)
	}
	want(t, "deferral", w.callback(press, `{"type":6}`), [2]int{204, 0})
	want(t, "edit", w.edit(press, `{"content":"pressed","components":[]}`), [2]int{200, 0})
	if m := w.Messages("2"); len(m) != 1 || m[0].Content != "pressed" || len(m[0].Components) != 0 {
		t.Errorf("the channel shows %+v", m)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	young, late := w.Issue(fakediscord.Slash("a")), w.Issue(fakediscord.Interaction{Name: "b", Created: time.Now().Add(-2 * time.Minute)})
	answer := `{"type":4,"data":{"content":"x"}}`
	want(t, "edit before an answer", w.edit(young, `{"content":"x"}`), [2]int{404, 10015})
	want(t, "callback with another's token", w.callback(fakediscord.Issued{ID: young.ID, Token: late.Token}, answer), [2]int{404, 10062})
	want(t, "bad callback", w.callback(young, `{"type":7}`), [2]int{400, 50035})
	want(t, "callback", w.callback(young, answer), [2]int{204, 0})
	want(t, "second callback", w.callback(young, answer), [2]int{400, 40060})
	want(t, "late callback", w.callback(late, answer), [2]int{404, 10062})
	want(t, "unknown token", w.edit(fakediscord.Issued{Token: "no"}, `{"content":"x"}`), [2]int{401, 50027})
	status, code := w.call("PATCH", "/webhooks/1/"+young.Token+"/messages/@original", `{"content":"x"}`)
	want(t, "unknown application", [2]int{status, code}, [2]int{404, 10015})

	old := w.Issue(fakediscord.Interaction{Name: "c", Created: time.Now().Add(-16 * time.Minute)})
	want(t, "expired token", w.edit(old, `{"content":"x"}`), [2]int{401, 50027})
	totals := w.Totals()
	want(t, "lost, open, invalid", [3]int{totals.Lost, totals.Open, totals.Invalid}, [3]int{1, 1, 2})
}

func TestAcceptedAnswerComesByCallback(t *testing.T) {
	t.Parallel()
	var ended []fakediscord.Ended
	w := start(t, fakediscord.Options{Ended: func(e fakediscord.Ended) { ended = append(ended, e) }})
	i, err := w.Send(t.Context(), w.endpoint(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }), fakediscord.Slash("ping"))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "callback", w.callback(i.Issued, `{"type":4,"data":{"content":"x","flags":64}}`), [2]int{204, 0})
	if len(ended) != 1 || ended[0].How != fakediscord.Callback || !ended[0].Ephemeral || ended[0].ID != i.ID ||
		string(ended[0].Message) != `{"content":"x","flags":64}` {
		t.Errorf("ended: %+v", ended)
	}
}
