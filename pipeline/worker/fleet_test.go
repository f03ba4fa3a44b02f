package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
	"arrakis/pipeline/view"
)

// startProcess starts this test binary as a worker.
func startProcess(t *testing.T, nats, redis string) *os.Process {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), asWorkerNATS+"="+nats, asWorkerRedis+"="+redis)
	c.Stderr = t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c.Process
}

// TestFleet: workers of several processes are seen by one of them. One that is killed is lost, and no messages are lost
// to it. The loss of INTERNAL makes no worker unready and stops no message, and INTERNAL comes back by itself.
func TestFleet(t *testing.T) {
	t.Parallel()
	server, redis := testserver.NATS(t), testserver.Redis(t).Addr()
	one, two := startProcess(t, server.URL(), redis), startProcess(t, server.URL(), redis)
	nc := testserver.ConnectNATS(t, server.URL())
	o := Options{NATS: nc, Redis: testserver.ConnectRedis(t, redis), Ops: listen(t), Version: "v1.2.3"}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.runReady(t)
	look := func() (f view.Fleet) {
		t.Helper()
		if _, body := get(t, o.Ops, "/v1/fleet"); json.Unmarshal([]byte(body), &f) != nil {
			t.Fatalf("not a fleet: %s", body)
		}
		return f
	}
	var f view.Fleet
	state := func(pid int) fleet.Health {
		i := slices.IndexFunc(f.Workers, func(w view.Worker) bool { return w.PID == pid })
		if i < 0 {
			return ""
		}
		return f.Workers[i].State
	}
	testserver.Eventually(t, "all three are ready", func() bool {
		f = look()
		return f.Totals.Ready == 3 && state(one.Pid) == fleet.Ready && state(two.Pid) == fleet.Ready && state(os.Getpid()) == fleet.Ready
	})
	i := slices.IndexFunc(f.Workers, func(w view.Worker) bool { return w.PID == os.Getpid() })
	if own := f.Workers[i]; own.Version != "v1.2.3" || own.Shards != 64 || own.Handlers != 256 || own.UptimeMS < 0 {
		t.Errorf("%+v", own)
	}

	js := testserver.JetStream(t, nc)
	if err := js.DeleteStream(t.Context(), contract.StreamInternal); err != nil {
		t.Fatal(err)
	}
	inbox, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	testserver.Eventually(t, "INTERNAL is made again", func() bool {
		if code, _ := get(t, o.Ops, "/readyz"); code != http.StatusOK {
			t.Fatalf("/readyz is %d without INTERNAL", code)
		}
		publish(t, js, inbox.Subject, "nobody", sent) // a command without a handler has an outcome too
		if _, err := inbox.NextMsg(testserver.Patience); err != nil {
			t.Fatal("messages wait for INTERNAL")
		}
		sent++
		_, err := js.Stream(t.Context(), contract.StreamInternal)
		return err == nil
	})

	if err := two.Kill(); err != nil {
		t.Fatal(err)
	}
	testserver.Eventually(t, "the killed one is lost", func() bool {
		f = look()
		return state(two.Pid) == fleet.Lost && f.Totals.Workers == 2
	})
	id := f.Workers[slices.IndexFunc(f.Workers, func(w view.Worker) bool { return w.PID == two.Pid })].ID
	if want := fmt.Sprintf("worker %s: lost: nothing is heard of it", id); !slices.Contains(f.Degraded, want) {
		t.Errorf("degraded: %q, want %q", f.Degraded, want)
	}
}

// A worker is starting until it was ready, and not ready after that.
func TestHeartState(t *testing.T) {
	h := &heart{}
	for _, step := range []struct {
		status string
		want   fleet.Health
	}{
		{"not_ready", fleet.Starting}, {"degraded", fleet.Degraded}, {"not_ready", fleet.NotReady}, {"ready", fleet.Ready}, {"draining", fleet.Draining},
	} {
		if got := h.state(step.status); got != step.want {
			t.Errorf("%s: %s, want %s", step.status, got, step.want)
		}
	}
}

// With a heartbeat a worker tells of the checks that are not ok, and its last one says that it has stopped.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	server := testserver.NATS(t)
	mini := testserver.Miniredis(t)
	listener := testserver.ConnectNATS(t, server.URL())
	beats, err := listener.SubscribeSync("internal.worker.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Flush(); err != nil {
		t.Fatal(err)
	}
	w, err := New(Options{NATS: server.Connect(t), Redis: testserver.ConnectRedis(t, mini.Addr())})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	until := func(what string, ok func(*fleet.Heartbeat) bool) {
		t.Helper()
		for {
			m, err := beats.NextMsg(testserver.Patience)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			var h fleet.Heartbeat
			if err := json.Unmarshal(m.Data, &h); err != nil {
				t.Fatal(err)
			}
			if ok(&h) {
				return
			}
		}
	}
	until("it is ready", func(h *fleet.Heartbeat) bool { return h.State == fleet.Ready && len(h.Faults) == 0 })
	mini.Close()
	until("it says that Redis is away", func(h *fleet.Heartbeat) bool {
		return h.State == fleet.Degraded && len(h.Faults) == 1 && h.Faults[0].Check == "redis" && h.Faults[0].Status == "degraded"
	})
	cancel()
	until("it has stopped", func(h *fleet.Heartbeat) bool { return h.State == fleet.Stopped })
	if err := <-done; err != nil {
		t.Error(err)
	}
}
