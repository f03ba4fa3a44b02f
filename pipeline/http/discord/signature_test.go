package discord

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/http/problem"
)

// Discord tries both endpoints when their URLs are set, and from time to time: PINGs, and signatures that are wrong in
// every way. That holds for each of the keys, while they are rotated.
func TestProbe(t *testing.T) {
	b := newBed(t, nil)
	for range b.fake.PublicKeys() {
		if err := b.fake.Probe(t.Context(), b.url+interactionsPath); err != nil {
			t.Errorf("interactions: %v", err)
		}
		if err := b.fake.ProbeEvents(t.Context(), b.url+eventsPath); err != nil {
			t.Errorf("events: %v", err)
		}
		b.fake.Rotate()
	}
	if n := b.stored(t); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
	b.counted(t, "ping", endPong, 2)
	b.counted(t, kindEvent, endPong, 2)
	bad := 2 * (len(fakediscord.BadSignatures) + 1)
	b.counted(t, kindUnknown, endUnauthorized, bad)
	b.counted(t, kindEvent, endUnauthorized, bad)
}

// What is not a good request of Discord is refused, and has no effect.
func TestRefusedRequests(t *testing.T) {
	b := newBed(t, nil)
	stranger := fakediscord.New(fakediscord.Options{})
	issued := b.fake.Issue(fakediscord.Slash("ping").In("7", "8"))
	command := string(issued.Body)
	ping := `{"type":1}`
	now := time.Now()
	for _, tt := range []struct {
		name, body string
		at         time.Time
		change     func(*http.Request)
		status     int
		problem    string
		field      string
	}{
		{"another method", ping, now, func(r *http.Request) { r.Method = http.MethodPut }, 405, "method-not-allowed", ""},
		{"no signature", ping, now, func(r *http.Request) { r.Header.Del(headerSignature) }, 401, "invalid-signature", headerSignature},
		{"no timestamp", ping, now, func(r *http.Request) { r.Header.Del(headerTimestamp) }, 401, "invalid-signature", headerSignature},
		{"another application's key", command, now, func(r *http.Request) { stranger.Sign(r.Header, []byte(command), now) }, 401, "invalid-signature", headerSignature},
		{"a body that another signature is for", command, now, func(r *http.Request) { b.fake.Sign(r.Header, []byte(ping), now) }, 401, "invalid-signature", headerSignature},
		{"a later timestamp for an old signature", command, now.Add(-time.Minute), func(r *http.Request) {
			r.Header.Set(headerTimestamp, strconv.FormatInt(now.Unix(), 10))
		}, 401, "invalid-signature", headerSignature},
		{"signed a minute ago", command, now.Add(-time.Minute), nil, 401, "stale-signature", headerTimestamp},
		{"signed in a minute", command, now.Add(time.Minute), nil, 401, "stale-signature", headerTimestamp},
		{"signed a minute ago, a ping", ping, now.Add(-time.Minute), nil, 401, "stale-signature", headerTimestamp},
		{"another media type", ping, now, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "unsupported-media-type", "Content-Type"},
		{"too large", `"` + strings.Repeat("x", maxBody) + `"`, now, nil, 413, "too-large", "body"},
		{"nothing", ``, now, nil, 400, "malformed", ""},
		{"no JSON", `{"type":`, now, nil, 400, "malformed", ""},
		{"a type that is not known", `{"type":99}`, now, nil, 400, "malformed", "type"},
		{"a member that is twice", `{"type":1,"type":1}`, now, nil, 400, "malformed", "type"},
		{"a command without an ID", strings.Replace(command, `"id":"`+issued.ID, `"no":"`+issued.ID, 1), now, nil, 400, "malformed", "id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{interactionsPath, eventsPath} {
				a := b.post(t, path, tt.body, tt.at, tt.change)
				var p problem.Problem
				if err := json.Unmarshal([]byte(a.body), &p); err != nil {
					t.Fatalf("%s: %d %s", path, a.status, a.body)
				}
				if a.status != tt.status || p.Type != problem.TypePrefix+tt.problem || p.RequestID != a.header.Get("X-Request-Id") || p.RequestID == "" {
					t.Errorf("%s: %d %s, want %d %s", path, a.status, a.body, tt.status, tt.problem)
				}
				if path == interactionsPath && p.Field != tt.field {
					t.Errorf("the field at fault is %q, want %q", p.Field, tt.field)
				}
			}
		})
	}
	if n := b.stored(t); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

// Who is told of a stale signature can see which clock is wrong.
func TestStaleSignatureTellsTheTime(t *testing.T) {
	b := newBed(t, nil)
	at := time.Now().Add(-time.Hour)
	a := b.post(t, interactionsPath, `{"type":1}`, at, nil)
	for _, want := range []string{strconv.FormatInt(at.Unix(), 10), fmt.Sprintf("%.0f s away", MaxAge.Seconds()), "clock"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("%s lacks %q", a.body, want)
		}
	}
	b.counted(t, kindUnknown, endStale, 1)
}
