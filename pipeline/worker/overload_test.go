package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// TestOverloadOverHTTP: a process with too much work answers new commands of the free tier 503 with Retry-After. The
// event ID is free again, nothing is charged, and it ends by itself.
func TestOverloadOverHTTP(t *testing.T) {
	hang, release := context.WithCancel(context.Background())
	defer release()
	handlers := pipeline.NewHandlers()
	handlers.Command("work", func(context.Context, *pipeline.Message) (any, error) {
		<-hang.Done()
		return "done", nil
	})
	rdb := testserver.ConnectRedis(t, testserver.Redis(t).Addr())
	o := Options{
		NATS: testserver.NATS(t).Connect(t), Redis: rdb, HTTP: listen(t), Handlers: handlers, HandlerConcurrency: 2,
		OverloadAge: time.Second,
	}
	if _, _, err := store.New(rdb, store.Options{Source: "test"}).UpgradeTier(t.Context(), "big", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	if err := w.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	post := func(ctx context.Context, community string, headers ...string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+o.HTTP.Addr().String()+"/v1/commands",
			strings.NewReader(fmt.Sprintf(`{"guild_id":%q,"data":{"command_name":"work"}}`, community)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		resp, err := client.Do(r)
		if err != nil {
			return nil, err.Error()
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		var problem struct{ Type string }
		_ = json.NewDecoder(resp.Body).Decode(&problem) // not every answer is one
		return resp, problem.Type
	}
	for i := range 10 {
		if resp, text := post(ctx, fmt.Sprint("busy", i), "Prefer", "respond-async"); resp == nil || resp.StatusCode != http.StatusAccepted {
			t.Fatalf("%+v %s", resp, text)
		}
	}
	var refused *http.Response
	for i := 0; refused == nil; i++ { // until then, each waits for longer than its sender does
		short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
		resp, text := post(short, fmt.Sprint("free", i), "Idempotency-Key", "key")
		stop()
		if resp == nil {
			continue
		}
		if refused = resp; resp.StatusCode != http.StatusServiceUnavailable || text != "urn:arrakis:problem:overloaded" {
			t.Fatalf("%s %s", resp.Status, text)
		}
		if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || after < 3 || after > 6 {
			t.Errorf("Retry-After %q, want 3 to 6 s", resp.Header.Get("Retry-After"))
		}
		if n, err := rdb.Exists(ctx, fmt.Sprintf("ratelimit:free%d:command", i)).Result(); err != nil || n != 0 {
			t.Errorf("a refused command was charged (%v)", err)
		}
		release()
		if resp, text := post(ctx, "big"); resp == nil || resp.StatusCode != http.StatusOK { // the level falls after 3 s
			t.Errorf("an enterprise command: %+v %s", resp, text)
		}
		testserver.Eventually(t, "the same request runs", func() bool {
			resp, _ := post(ctx, fmt.Sprint("free", i), "Idempotency-Key", "key")
			return resp != nil && resp.StatusCode == http.StatusOK
		})
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}
