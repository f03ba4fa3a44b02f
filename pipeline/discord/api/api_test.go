package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

const secret = "a/secret+token"

// serve returns a client of a server that answers with the handler.
func serve(t *testing.T, maxAnswer int64, answer http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return newClient(t, s.URL, maxAnswer)
}

func newClient(t *testing.T, base string, maxAnswer int64) *Client {
	t.Helper()
	c, err := New(Options{BaseURL: base, Timeout: testserver.Patience, MaxConnections: 2, MaxAnswer: maxAnswer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// answer answers with a status, headers as name, value, name, value, ... and a body.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for n := 0; n < len(headers); n += 2 {
			w.Header().Set(headers[n], headers[n+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the client may be gone
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	const scope, global, retry, bucket = "X-RateLimit-Scope", "X-RateLimit-Global", "Retry-After", "X-RateLimit-Bucket"
	limited := func(s Scope, after time.Duration) *Error {
		return &Error{Status: 429, Message: "Too Many Requests", Limited: &Limited{Scope: s, After: after}}
	}
	for _, tt := range []struct {
		name    string
		answer  http.HandlerFunc
		want    *Error
		text    string
		invalid bool
	}{
		{
			"code", answer(404, `{"message":"Unknown interaction","code":10062}`),
			&Error{Status: 404, Code: 10062, Message: "Unknown interaction"}, "discord answers 404: Unknown interaction (10062)", false,
		},
		{
			"no JSON", answer(502, "<html>"),
			&Error{Status: 502, Message: "Bad Gateway"}, "discord answers 502: Bad Gateway", false,
		},
		{
			"unauthorized", answer(401, `{"message":"401: Unauthorized","code":0}`),
			&Error{Status: 401, Message: "401: Unauthorized"}, "discord answers 401: 401: Unauthorized", true,
		},
		{
			"redirect", answer(307, "", "Location", "/elsewhere"),
			&Error{Status: 307, Message: "Temporary Redirect"}, "discord answers 307: Temporary Redirect", false,
		},
		{
			"fields", answer(400, `{"code":50035,"message":"Invalid Form Body","errors":{"0":{"name":{"_errors":[{"code":"X","message":"is bad"},{"message":"is long"}]},
				"options":{"1":{"type":{"_errors":[{"message":"is none"}]}}}},"_errors":[{"message":"all is bad"}]}}`),
			&Error{Status: 400, Code: 50035, Message: "Invalid Form Body", Faults: []Fault{
				{"0.name", "is bad"}, {"0.name", "is long"}, {"0.options.1.type", "is none"}, {"", "all is bad"},
			}},
			"discord answers 400: Invalid Form Body (50035): 0.name: is bad; 0.name: is long; 0.options.1.type: is none; : all is bad", false,
		},
		{
			"a token in the answer", answer(400, `{"message":"no `+secret+` and a%2Fsecret+token and aW50ZXJhY3Rpb246abc","errors":{"`+secret+`":{"_errors":[{"message":"`+secret+`"}]}}}`),
			&Error{Status: 400, Message: "no [redacted] and [redacted] and [redacted]", Faults: []Fault{{"[redacted]", "[redacted]"}}},
			"discord answers 400: no [redacted] and [redacted] and [redacted]: [redacted]: [redacted]", false,
		},
		{
			"user", answer(429, `{"message":"slowly","retry_after":0.6501,"global":false}`, scope, "user", retry, "1"),
			&Error{Status: 429, Message: "slowly", Limited: &Limited{User, 651 * time.Millisecond}},
			"discord answers 429: slowly; try again in 651ms", true,
		},
		{"shared", answer(429, `{"retry_after":2}`, scope, "shared"), limited(Shared, 2*time.Second), "", false},
		{"global", answer(429, `{"retry_after":2,"global":true}`, scope, "user"), limited(Global, 2*time.Second), "", true},
		{"global by header", answer(429, `{"retry_after":2}`, global, "true"), limited(Global, 2*time.Second), "", true},
		{"global by scope", answer(429, `{"retry_after":2}`, scope, "global", bucket, "abc"), limited(Global, 2*time.Second), "", true},
		{"no scope, but a bucket", answer(429, `{"retry_after":2}`, bucket, "abc"), limited(User, 2*time.Second), "", true},
		{"ban by Cloudflare", answer(429, "error code: 1015", retry, "3600"), limited(Global, time.Hour), "", true},
		{"no time", answer(429, "{}", scope, "shared"), limited(Shared, time.Second), "", false},
		{"negative time", answer(429, `{"retry_after":-3}`, scope, "shared", retry, "-1"), limited(Shared, time.Second), "", false},
		{"no number", answer(429, "{}", scope, "shared", retry, "NaN"), limited(Shared, time.Second), "", false},
		{"endless", answer(429, `{"retry_after":1e300}`, scope, "shared"), limited(Shared, 24*time.Hour), "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := serve(t, 0, tt.answer).Do(t.Context(), Call{Method: http.MethodPost, Path: "/x", Body: []byte("{}"), Secret: secret})
			var got *Error
			if !errors.As(err, &got) {
				t.Fatalf("%v, want an *Error", err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			if tt.text != "" && err.Error() != tt.text {
				t.Errorf("%q, want %q", err, tt.text)
			}
			if got.Invalid() != tt.invalid {
				t.Errorf("invalid %t, want %t", got.Invalid(), tt.invalid)
			}
		})
	}
}

// A long answer, and one that is nested deeply, make a short error.
func TestErrorsAreShort(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":`, 1000) + `{"_errors":[{"message":"deep"}]}` + strings.Repeat("}", 1000)
	many := `[` + strings.Repeat(`{"message":"`+strings.Repeat("é", 1000)+`"},`, 25) + `{}]`
	for _, faults := range []string{deep, `{"_errors":` + many + `}`} {
		c := serve(t, 0, answer(400, `{"message":"`+strings.Repeat("x", 10_000)+`","errors":`+faults+`}`))
		_, err := c.Do(t.Context(), Call{Method: http.MethodGet, Path: "/"})
		var got *Error
		if !errors.As(err, &got) || len(got.Message) != maxMessage || len(got.Faults) > maxFaults || len(err.Error()) > 20_000 {
			t.Errorf("an error of %d bytes: %.100v", len(err.Error()), err)
		}
	}
}

func TestGoodAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		maxAnswer int64
		body      string
		want      string // "" for none
		fails     bool
	}{
		{"dropped", 0, strings.Repeat("x", 2*maxDropped), "", false},
		{"read", 4, "abcd", "abcd", false},
		{"too long", 3, "abcd", "", true},
	} {
		got, err := serve(t, tt.maxAnswer, answer(200, tt.body)).Do(t.Context(), Call{Method: http.MethodGet, Path: "/"})
		if string(got) != tt.want || (err != nil) != tt.fails {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

// The error of a call that gets no answer says why, without the URL, in which the token is.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(answer(200, ""))
	gone.Close()
	cut := serve(t, 0, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, c := range map[string]*Client{"refused": newClient(t, gone.URL, 0), "cut": cut} {
		_, err := c.Do(t.Context(), Call{Method: http.MethodPatch, Path: "/webhooks/1/" + secret, Body: []byte("{}"), Secret: secret})
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.HasPrefix(err.Error(), "discord does not answer: ") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "cut" && !errors.Is(err, io.EOF) {
			t.Errorf("%v is not what is beneath", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	hangs := serve(t, 0, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := hangs.Do(ctx, Call{Method: http.MethodGet, Path: "/"}); !errors.Is(err, context.Canceled) || err != ctx.Err() { //nolint:errorlint // it must be that very error
		t.Errorf("%v, want the context's error", err)
	}
	if _, err := hangs.Do(t.Context(), Call{Method: http.MethodGet, Path: "/%zz" + secret}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, want an error without the path", err)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	c := serve(t, 0, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	for _, tt := range []struct {
		call                 Call
		media, authorization string
	}{
		{Call{Method: http.MethodGet, Path: "/"}, "", ""},
		{Call{Method: http.MethodPut, Path: "/", Body: []byte("[]"), Authorization: "Bot x"}, "application/json", "Bot x"},
	} {
		if _, err := c.Do(t.Context(), tt.call); err != nil {
			t.Fatal(err)
		}
		h := <-got
		want := []string{userAgent, tt.media, tt.authorization}
		if d := cmp.Diff(want, []string{h.Get("User-Agent"), h.Get("Content-Type"), h.Get("Authorization")}); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{BaseURL: "discord.com"}); err == nil {
		t.Error("a URL without a scheme is taken")
	}
}
