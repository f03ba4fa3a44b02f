package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant"
)

// charge takes n permits of a key.
func (b *bed) charge(t *testing.T, key string, limit limiter.Limit, n int) {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint("e", i)
	}
	if _, err := b.limits.Limiter.Allow(t.Context(), key, limit, ids...); err != nil {
		t.Fatal(err)
	}
}

var aMinute = limiter.Limit{Max: 100, Window: time.Minute}

func TestUsage(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	// A guild that is community c1.
	b.do(t, "PUT", "/v1/tenants/g1", `{"communityId":"c1","tier":"pro","rateLimits":{"syncRequestsPerDay":-1}}`).want(t, 201)
	b.charge(t, shard.Key("c1", tenant.Command), aMinute, 3)
	var got shard.Usage
	b.do(t, "GET", "/v1/tenants/g1/usage", "").want(t, 200).decode(t, &got)
	if ms := got.Actions[0].ResetMS; ms <= 0 || ms > 60_000 {
		t.Errorf("reset_ms %d", ms)
	}
	got.Actions[0].ResetMS = 0
	want := shard.Usage{Community: "c1", Tier: "pro", Mode: tenant.Enforce, Actions: []shard.ActionUsage{
		{Action: "command", Used: 3, Limit: 100, Remaining: 97, WindowMS: 60_000},
		{Action: "eligibility_check", Limit: 1000, Remaining: 1000, WindowMS: 3_600_000},
		{Action: "sync_request", Limit: -1, Remaining: -1, WindowMS: 86_400_000},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if r := b.do(t, "GET", "/v1/tenants/nobody/usage", "").want(t, 200); !strings.Contains(r.body, `"tier":"free"`) || strings.Contains(r.body, "degraded") {
		t.Errorf("without a config: %s", r.body)
	}
}

// TestUsageShowsLanes: whoever looks at a community sees how much of it waits in lanes, and that nobody knows while
// JetStream does not answer.
func TestUsageShowsLanes(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	lanesOf := func(id string) *[]view.Lane {
		var got view.Usage
		b.do(t, "GET", "/v1/tenants/"+id+"/usage", "").want(t, 200).decode(t, &got)
		return got.Lanes
	}
	if list := lanesOf("c1"); list == nil || len(*list) != 0 {
		t.Errorf("in no lane: %v", list)
	}
	for _, subject := range []string{contract.LaneSubject(contract.KindCommand, "c1", 3), contract.LaneSubject(contract.KindCommand, "c2", 35)} {
		if _, err := b.js.Publish(t.Context(), subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	list := lanesOf("c1")
	if list == nil || len(*list) != 1 {
		t.Fatalf("in one lane: %v", list)
	}
	if l := (*list)[0]; l.Kind != "command" || l.Community != "c1" || l.Lane != 3 || l.Shared || l.Messages != 1 || l.Bytes == 0 || l.Opened != nil {
		t.Errorf("%+v", l)
	}
	b.nats.Stop()
	if list := lanesOf("c1"); list != nil {
		t.Errorf("without NATS: %v", *list)
	}
}

// TestReset forgets on every Redis what it is to forget, and nothing else.
func TestReset(t *testing.T) {
	t.Parallel()
	testserver.EveryRedis(t, func(t *testing.T, rdb redis.UniversalClient) { testReset(t, newBedOn(t, rdb)) })
}

func testReset(t *testing.T, b *bed) {
	t.Helper()
	b.do(t, "PUT", "/v1/tenants/g1", `{"communityId":"c1","tier":"pro"}`).want(t, 201)
	const users = 50
	// left are the keys of what is charged anew before each reset.
	left := func(request string) map[string]int {
		t.Helper()
		for _, community := range []string{"c1", "c1:x", "c"} {
			for _, a := range []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest} {
				b.charge(t, shard.Key(community, a), aMinute, 1)
			}
			for i := range users {
				b.charge(t, shard.UserKey(community, fmt.Sprint(i)), aMinute, 1)
			}
		}
		method, path, _ := strings.Cut(request, " ")
		b.do(t, method, path, "").want(t, 200)
		got := map[string]int{}
		for _, community := range []string{"c1", "c1:x", "c"} {
			for _, a := range []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest} {
				if b.redis.Exists(t.Context(), "ratelimit:"+shard.Key(community, a)).Val() == 1 {
					got[community]++
				}
			}
			for i := range users {
				if b.redis.Exists(t.Context(), "ratelimit:"+shard.UserKey(community, fmt.Sprint(i))).Val() == 1 {
					got[community+" users"]++
				}
			}
		}
		return got
	}
	others := map[string]int{"c1:x": 3, "c1:x users": users, "c": 3, "c users": users}
	for _, tt := range []struct {
		request string
		want    map[string]int // of c1
		target  string         // of the event
	}{
		{"DELETE /v1/tenants/g1/usage/command", map[string]int{"c1": 2, "c1 users": users}, "c1:command"},
		{"DELETE /v1/tenants/g1/usage/user_command", map[string]int{"c1": 3}, "c1:user_command"},
		{"DELETE /v1/tenants/g1/usage", map[string]int{}, "c1"},
	} {
		events := b.subscribe(t)
		for name, n := range others {
			tt.want[name] = n
		}
		if diff := cmp.Diff(tt.want, left(tt.request)); diff != "" {
			t.Errorf("%s leaves (-want +got)\n%s", tt.request, diff)
		}
		if got, want := <-events, "limit_reset "+tt.target; got != want {
			t.Errorf("%s: event %q, want %q", tt.request, got, want)
		}
	}
}

// subscribe gives the type and target of the next event, or "" after a minute.
func (b *bed) subscribe(t *testing.T) <-chan string {
	t.Helper()
	sub := b.redis.Subscribe(t.Context(), "arrakis:config:reload")
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := make(chan string, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(next)
		select {
		case m, ok := <-sub.Channel():
			if !ok {
				return
			}
			var e struct{ Type, TargetID string }
			if err := json.Unmarshal([]byte(m.Payload), &e); err != nil {
				t.Error(err)
			}
			next <- e.Type + " " + e.TargetID
		case <-time.After(time.Minute):
		}
	}()
	t.Cleanup(func() {
		_ = sub.Close() // ends the goroutine
		<-done
	})
	return next
}

// TestEvents: every change is announced to every process.
func TestEvents(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	for _, tt := range []struct{ request, body, want string }{
		{"PUT /v1/tenants/g1", `{"communityId":"c1","tier":"pro"}`, "tenant_config g1"},
		{"PATCH /v1/tenants/g1", `{"tier":"free"}`, "tenant_config g1"},
		{"DELETE /v1/tenants/g1", "", "tenant_config g1"},
		{"PUT /v1/flags/new-ui", `{"enabled":true}`, "feature_flag new-ui"},
		{"DELETE /v1/flags/new-ui", "", "feature_flag new-ui"},
		{"POST /v1/reload", "", "global_config "},
		{"POST /v1/reload", "{}", "global_config "},
		{"POST /v1/reload", `{"community":null}`, "global_config "},
		{"POST /v1/reload", `{"community":"c1"}`, "tenant_config c1"},
		{"POST /v1/reload?community=a:b", "", "tenant_config a:b"},
		{"DELETE /v1/tenants/c:command/usage/command", "", "limit_reset c:command:command"},
	} {
		events := b.subscribe(t)
		method, path, _ := strings.Cut(tt.request, " ")
		if r := b.do(t, method, path, tt.body); r.status >= 300 {
			t.Errorf("%s: %d %s", tt.request, r.status, r.body)
		}
		if got := <-events; got != tt.want {
			t.Errorf("%s: event %q, want %q", tt.request, got, tt.want)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	made := b.do(t, "PUT", "/v1/flags/new-ui", ` { "enabled" : true, "tiers":["pro"], "rolloutPercent":12.5 } `).want(t, 201)
	got := b.do(t, "GET", "/v1/flags/new-ui", "").want(t, 200)
	if want := `{"id":"new-ui","enabled":true,"tiers":["pro"],"rolloutPercent":12.5}` + "\n"; got.body != want || made.body != want {
		t.Errorf("%s, PUT answers %s, want %s", got.body, made.body, want)
	}
	b.do(t, "PUT", "/v1/flags/new-ui", got.body, ifMatch, got.header.Get("ETag")).want(t, 200)
	b.do(t, "PUT", "/v1/flags/new-ui", `{}`).want(t, 200)
	if r := b.do(t, "GET", "/v1/flags/new-ui", ""); r.body != `{"id":"new-ui","enabled":false}`+"\n" {
		t.Errorf("after a PUT of nothing: %s", r.body)
	}
	b.do(t, "DELETE", "/v1/flags/new-ui", "").want(t, 204)

	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("f.%02d", i))
		b.do(t, "PUT", "/v1/flags/"+want[i], `{"enabled":true}`).want(t, 201)
	}
	var listed []string
	pages := 0
	for next := "/v1/flags?limit=10"; next != ""; pages++ {
		r := b.do(t, "GET", next, "").want(t, 200)
		var page struct {
			Flags []struct {
				ID, ETag string
				Enabled  bool
			}
			Next string
		}
		r.decode(t, &page)
		for _, f := range page.Flags {
			listed = append(listed, f.ID)
			if !f.Enabled || len(f.ETag) != 34 {
				t.Errorf("entry %+v", f)
			}
		}
		next = strings.TrimSuffix(strings.TrimPrefix(r.header.Get("Link"), "<"), `>; rel="next"`)
		if (next == "") != (page.Next == "") {
			t.Errorf("next %q, Link %q", page.Next, next)
		}
	}
	if diff := cmp.Diff(want, listed); diff != "" || pages != 3 {
		t.Errorf("%d pages (-want +got)\n%s", pages, diff)
	}
}
