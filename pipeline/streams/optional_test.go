package streams_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/streams"
)

// A server before 2.12 would make RETRY and ignore that it must have schedules. So RETRY is not made there, and nothing
// else is wrong.
func TestNoRetryOnAnOldServer(t *testing.T) {
	t.Parallel()
	nc := testserver.NATS(t).Connect(t)
	old := oldServer(t, nc)
	log, _ := lines()
	err := streams.Ensure(t.Context(), old, nil, streams.Options{}, log)
	if optional := new(streams.OptionalError); !errors.As(err, &optional) || !strings.Contains(err.Error(), "RETRY") {
		t.Errorf("Ensure: %v, want an OptionalError that names RETRY", err)
	}
	if _, err := old.Stream(t.Context(), "RETRY"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("RETRY: %v, want that it does not exist", err)
	}
	if left := plan(t, old, streams.Options{}); left != nil {
		t.Errorf("left to be done: %q", left)
	}
	all, err := streams.Look(t.Context(), old, newWorld(t).records, streams.Options{})
	if err != nil || slices.ContainsFunc(all, func(s streams.Status) bool { return s.Stream == "RETRY" }) {
		t.Errorf("the status shows RETRY (%v): %+v", err, all)
	}
}

// oldServer is JetStream as a server before 2.12 shows it: with another level of its API.
func oldServer(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	const prefix = "OLD."
	_, err := nc.Subscribe(prefix+">", func(m *nats.Msg) {
		reply, err := nc.Request("$JS.API."+strings.TrimPrefix(m.Subject, prefix), m.Data, testserver.Patience)
		if err != nil {
			return // nobody answers
		}
		if m.Subject == prefix+"INFO" {
			var info map[string]any
			if json.Unmarshal(reply.Data, &info) == nil {
				info["api"] = map[string]any{"level": 1}
				reply.Data, _ = json.Marshal(info)
			}
		}
		_ = m.Respond(reply.Data) // an error shows as no answer
	})
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.NewWithAPIPrefix(nc, strings.TrimSuffix(prefix, "."))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Workers do without RETRY where somebody else has its subjects. Everything else is made, and it is made as soon as it
// can be.
func TestEnsureDoesWithoutRetry(t *testing.T) {
	t.Parallel()
	js := jetStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHERS", Subjects: []string{"again.>"}}); err != nil {
		t.Fatal(err)
	}
	log, _ := lines()
	err := streams.Ensure(t.Context(), js, nil, streams.Options{}, log)
	if optional := new(streams.OptionalError); !errors.As(err, &optional) || !strings.Contains(err.Error(), "create stream RETRY") {
		t.Errorf("Ensure: %v, want an OptionalError that names RETRY", err)
	}
	if left := plan(t, js, streams.Options{}); !slices.Equal(left, []string{"create stream RETRY", "create consumer RETRY/retry-worker"}) {
		t.Errorf("left to be done: %q", left)
	}
	if err := js.DeleteStream(t.Context(), "OTHERS"); err != nil {
		t.Fatal(err)
	}
	if err := streams.Ensure(t.Context(), js, nil, streams.Options{}, log); err != nil {
		t.Error(err)
	}
}

// A RETRY that was made without schedules gets them.
func TestApplyAllowsSchedules(t *testing.T) {
	t.Parallel()
	js := jetStream(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "RETRY", Subjects: []string{"retry.>", "again.>"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := streams.Plan(t.Context(), js, streams.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := streams.Apply(t.Context(), js, nil, changes); err != nil {
		t.Error(err)
	}
	if left := plan(t, js, streams.Options{}); left != nil {
		t.Errorf("left to be done: %q", left)
	}
}
