package fakediscord_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

func TestFaults(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{})
	i := w.Issue(fakediscord.Slash("ping"))
	want(t, "deferral", w.callback(i, `{"type":5}`), [2]int{204, 0})
	for _, f := range []fakediscord.Fault{
		fakediscord.RateLimited(fakediscord.ScopeUser, 650*time.Millisecond), fakediscord.RateLimited(fakediscord.ScopeShared, time.Second),
		fakediscord.RateLimited(fakediscord.ScopeGlobal, time.Second), fakediscord.UnknownInteraction(), fakediscord.UnknownWebhook(),
		fakediscord.InvalidToken(), fakediscord.Status(503),
	} {
		w.Fail(1, f)
		want(t, fmt.Sprintf("%+v", f), w.edit(i, `{"content":"x"}`), [2]int{f.Status, f.Code})
	}
	totals := w.Totals()
	want(t, "limited, invalid, refused", [3]int{totals.Limited, totals.Invalid, totals.Refused}, [3]int{3, 3, 3})
	want(t, "open", totals.Open, 1)
	for _, cut := range []fakediscord.Cut{fakediscord.CutBefore, fakediscord.CutAfter} {
		w.Fail(1, fakediscord.Fault{Cut: cut})
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.api+"/webhooks/"+w.ApplicationID()+"/"+i.Token, strings.NewReader(`{"content":"x"}`))
		r.Header.Set("Authorization", "Bot x")
		if response, err := http.DefaultClient.Do(r); err == nil {
			_ = response.Body.Close() // the test has failed
			t.Errorf("status %d, want a cut connection", response.StatusCode)
		}
		want(t, "edited", w.Totals().Edited, int(cut-fakediscord.CutBefore))
	}
	want(t, "authorized", w.Totals().Authorized, 2)
}

func TestRateLimitAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault                           fakediscord.Fault
		scope, global, retryAfter, body string
	}{
		{fakediscord.RateLimited("user", 650*time.Millisecond), "user", "", "1", `{"global":false,"message":"You are being rate limited.","retry_after":0.65}`},
		{fakediscord.RateLimited("global", 2*time.Second), "global", "true", "2", `{"global":true,"message":"You are being rate limited.","retry_after":2}`},
		{fakediscord.Banned(time.Hour), "", "", "3600", `<html><body>error code: 1015</body></html>`},
	} {
		s := fakediscord.New(fakediscord.Options{})
		s.Fail(1, tt.fault)
		r := httptest.NewRecorder()
		s.ServeHTTP(r, httptest.NewRequest(http.MethodPost, fakediscord.Base+"/webhooks/1/2", nil))
		h := r.Header()
		want(t, tt.scope, []string{h.Get("X-RateLimit-Scope"), h.Get("X-RateLimit-Global"), h.Get("Retry-After"), r.Body.String()},
			[]string{tt.scope, tt.global, tt.retryAfter, tt.body})
	}
}
