package problem

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	for _, tt := range []struct {
		status       int
		retryAfterMS int64
		want         string
	}{
		{http.StatusServiceUnavailable, 0, ""},
		{http.StatusServiceUnavailable, 1, "1"},
		{http.StatusServiceUnavailable, 1_000, "1"},
		{http.StatusServiceUnavailable, 1_001, "2"},
		{http.StatusTooManyRequests, 0, "1"},
		{http.StatusTooManyRequests, -5, "1"},
	} {
		p := New(tt.status, "not-stored", "say <what> to do, \xff")
		p.RetryAfterMS = tt.retryAfterMS
		w := httptest.NewRecorder()
		if err := p.Write(w); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("Retry-After"); got != tt.want || w.Code != tt.status {
			t.Errorf("%d after %d ms: Retry-After %q, want %q", w.Code, tt.retryAfterMS, got, tt.want)
		}
		if !strings.Contains(w.Body.String(), "say <what>") {
			t.Errorf("body %s", w.Body)
		}
		var got Problem
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		p.Detail = strings.ToValidUTF8(p.Detail, "\ufffd")
		if diff := cmp.Diff(*p, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}

func TestNew(t *testing.T) {
	got := New(410, "not-stored", "%d%%", 5)
	want := &Problem{Type: "urn:arrakis:problem:not-stored", Title: "Not stored", Status: 410, Detail: "5%"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
