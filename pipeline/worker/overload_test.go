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
)

// TestOverloadOverHTTP: a process with too much work answers new commands of the free tier 503 with Retry-After. The
// event ID is free again, nothing is charged, and it ends by itself.
func TestOverloadOverHTTP(t *testing.T) {
	t.Parallel()
	hang, release := context.WithCancel(context.Background())
	defer release()
	handlers := pipeline.NewHandlers()
	handlers.Command("work", func(context.Context, *pipeline.Message) (any, error) {
		<-hang.Done()
		return "done", nil
	})
	l := listen(t)
	w := newWorker(t, Options{HTTP: l, Handlers: handlers, HandlerConcurrency: 2, OverloadAge: time.Second})
	if _, _, err := w.tenants.UpgradeTier(t.Context(), "big", tenant.Enterprise); err != nil {
		t.Fatal(err)
	}
	w.runReady(t)
	ctx := t.Context()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	// post returns the status, 0 if the client did not wait for it, and the type of a problem.
	post := func(ctx context.Context, community string, headers ...string) (status int, problem string, header http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.Addr().String()+"/v1/commands",
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
			return 0, err.Error(), nil
		}
		defer resp.Body.Close() //nolint:errcheck // only read
		var body struct{ Type string }
		_ = json.NewDecoder(resp.Body).Decode(&body) // not every answer is a problem
		return resp.StatusCode, body.Type, resp.Header
	}
	for i := range 10 {
		if status, text, _ := post(ctx, fmt.Sprint("busy", i), "Prefer", "respond-async"); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, text)
		}
	}
	var community, problem string
	var header http.Header
	for i, status := 0, 0; status == 0; i++ { // until then, the client leaves before its answer
		community = fmt.Sprint("free", i)
		short, stop := context.WithTimeout(ctx, time.Duration(200+20*i)*time.Millisecond) // longer, for a busy machine
		status, problem, header = post(short, community, "Idempotency-Key", "key")
		stop()
	}
	if after, err := strconv.Atoi(header.Get("Retry-After")); err != nil || after < 3 || after > 6 || problem != "urn:arrakis:problem:overloaded" {
		t.Fatalf("%s, Retry-After %q: want overloaded, and 3 to 6 s", problem, header.Get("Retry-After"))
	}
	if n, err := w.o.Redis.Exists(ctx, "ratelimit:"+community+":command").Result(); err != nil || n != 0 {
		t.Errorf("a refused command was charged (%v)", err)
	}
	release()
	if status, text, _ := post(ctx, "big"); status != http.StatusOK { // the level falls no sooner than 3 s later
		t.Errorf("an enterprise command: %d %s", status, text)
	}
	testserver.Eventually(t, "the same request runs", func() bool {
		status, _, _ := post(ctx, community, "Idempotency-Key", "key")
		return status == http.StatusOK
	})
}
