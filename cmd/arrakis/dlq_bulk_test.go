package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
)

// replayAll asks the admin API for a bulk replay of a filter, part by part, and repeats each part as a client does that
// has lost the answer. It may be called by any goroutine of a test.
func (d *devProcess) replayAll(t *testing.T, filter string) (total deadletter.Part) {
	t.Helper()
	cursor := ""
	for {
		body := fmt.Sprintf(`{"filter":%s,"cursor":%q}`, filter, cursor)
		var part, again deadletter.Part
		for _, into := range []*deadletter.Part{&part, &again} {
			r := do(t, d.client, http.MethodPost, d.ops+"/v1/deadletters/replay", body)
			if err := json.Unmarshal(r.body, into); err != nil || r.status != http.StatusOK {
				t.Errorf("%v: %d %s", err, r.status, r.body)
				return total
			}
		}
		total.Done, total.Gone = total.Done+part.Done+again.Done, total.Gone+part.Gone
		if cursor = part.Next; cursor == "" {
			return total
		}
	}
}

// After an incident, two operators replay the dead letters of all communities at once, one over the API and one with the
// command line. Each message is handled once, and was charged once.
func TestBulkReplay(t *testing.T) {
	t.Parallel()
	const communities, each = 6, 60
	d := startDev(t, "--max-attempts=1")
	nc, js := d.connect(t)
	stop := failingHandler(t, nc, "handlers.eligibility.audit")
	for i := range communities * each {
		community := fmt.Sprintf("comm_%03d", 10+i%communities) // pro: 1,000 an hour
		body := fmt.Sprintf(`{"event_id":"check-%d","event_type":"eligibility.check","community_id":%q,"check_type":"audit","data":{}}`, i, community)
		if _, err := js.PublishAsync("eligibility.check.single."+community, []byte(body), jetstream.WithStallWait(testserver.Patience)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	testserver.Eventually(t, "all are dead letters", func() bool { return len(d.failed(t, "")) == communities*each })
	if n := len(d.failed(t, "comm_011")); n != each {
		t.Errorf("%d dead letters of comm_011, want %d", n, each)
	}
	stop()

	var mu sync.Mutex
	handled := map[string]int{}
	_, err := nc.Subscribe("handlers.eligibility.audit", func(m *nats.Msg) {
		mu.Lock()
		handled[m.Header.Get(contract.HeaderEventID)]++
		mu.Unlock()
		_ = m.Respond([]byte("{}")) // the test sees what is missing
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	dlq(t, d.env(), exitUsage, "replay --community=comm_010").says(t, "would replay 60 dead letters of community comm_010: add --yes")
	dlq(t, d.env(), exitDone, "replay --community=comm_010 --yes").says(t, "replayed 60 dead letters of community comm_010\n")
	if r := arrakis(t, d.env(), "audit", "--target=comm_010", "--json"); !strings.Contains(r.stdout, "cli:") || !strings.Contains(r.stdout, `"type": "replay"`) {
		t.Errorf("the audit log says nothing of it: %+v", r)
	}
	var operators sync.WaitGroup
	operators.Go(func() { d.replayAll(t, `{"reason":"attempts_exhausted"}`) })
	operators.Go(func() { d.replayAll(t, `{}`) })
	operators.Go(func() {
		if r := arrakis(t, d.env(), "dlq", "replay", "--stream=ELIGIBILITY", "--yes"); r.code != exitDone {
			t.Errorf("%+v", r)
		}
	})
	operators.Wait()
	testserver.Eventually(t, "all are handled", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(handled) == communities*each
	})
	for i := range communities {
		community := fmt.Sprintf("comm_%03d", 10+i)
		if r := arrakis(t, d.env(), "usage", community, "--json"); !strings.Contains(compact(t, r.stdout), `"used":60`) {
			t.Errorf("%s was not charged once for each: %s", community, r.stdout)
		}
	}
	if left := d.failed(t, ""); len(left) > 0 {
		t.Errorf("%d dead letters are left", len(left))
	}
	stream, err := js.Stream(t.Context(), contract.StreamEligibility)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.LastSeq; n != 2*communities*each {
		t.Errorf("%d messages were stored, want each and its one replay", n)
	}
	mu.Lock()
	defer mu.Unlock()
	for id, n := range handled {
		if n != 1 {
			t.Errorf("%s was handled %d times", id, n)
		}
	}
}

// failed lists the dead letters of a community, the newest first; "" means of all.
func (d *devProcess) failed(t *testing.T, community string) []deadletter.Entry {
	t.Helper()
	var page struct {
		Deadletters []deadletter.Entry
	}
	r := do(t, d.client, http.MethodGet, d.ops+"/v1/deadletters?order=newest&limit=1000&community="+community, "")
	if err := json.Unmarshal(r.body, &page); err != nil || r.status != http.StatusOK {
		t.Fatalf("%v: %d %s", err, r.status, r.body)
	}
	return page.Deadletters
}

// A run that is interrupted is in the audit log all the same.
func TestInterruptedRunIsAudited(t *testing.T) {
	t.Parallel()
	env := environment{"REDIS_URL": "redis://" + testserver.Redis(t).Addr()}
	s := deadLetterSelection{redisSettings: redisSettings{URL: env["REDIS_URL"]}}
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	var warnings bytes.Buffer
	s.record(interrupted, process{stderr: &warnings}, deadletter.Bulk{Action: deadletter.ActionPurge, Seqs: []uint64{17}}, deadletter.Part{Done: 1})
	if r := arrakis(t, env, "audit"); !strings.Contains(r.stdout, "purge 17") || warnings.Len() > 0 {
		t.Errorf("%s: %s", r.stdout, warnings.String())
	}
}
