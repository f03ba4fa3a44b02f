package pipeline

import (
	"bytes"
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/micro"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

func TestMicroServiceHandles(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := testserver.ConnectNATS(t, b.nc.ConnectedUrl()) // as another process would
	service, err := micro.AddService(other, micro.Config{Name: "stats", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Stop() //nolint:errcheck // the test is over
	var got atomic.Pointer[micro.Request]
	err = service.AddEndpoint("stats", micro.HandlerFunc(func(r micro.Request) {
		got.Store(&r)
		_ = r.Respond([]byte(`{"members": 42}`))
	}), micro.WithEndpointSubject("handlers.command.stats"))
	if err == nil {
		err = other.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.store.UpgradeTier(t.Context(), "700000000000000001", tenant.Pro); err != nil {
		t.Fatal(err)
	}
	b.start()
	body := testserver.Fixtures(t, "good")["interaction-command.json"]
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	o := b.outcome(b.publish("commands.interaction", body, contract.HeaderTraceParent, parent))
	if o.Status != contract.StatusOK || string(o.Result) != `{"members":42}` || o.Tier != "pro" {
		t.Errorf("outcome %+v, result %s", o, o.Result)
	}
	r := *got.Load()
	if diff := cmp.Diff(string(body), string(r.Data())); diff != "" {
		t.Errorf("the service got another body (-want +got)\n%s", diff)
	}
	for name, want := range map[string]string{
		contract.HeaderCommunity: "700000000000000001", contract.HeaderTier: "pro",
		contract.HeaderFeatures: "advancedAnalytics,customBranding", contract.HeaderAttempt: "1",
		contract.HeaderEventID: o.EventID, contract.HeaderRequestID: o.EventID, contract.HeaderTraceParent: parent,
	} {
		if got := r.Headers().Get(name); got != want {
			t.Errorf("header %s = %q, want %q", name, got, want)
		}
	}
	if r.Headers().Get(contract.HeaderDeadline) == "" {
		t.Error("no deadline was passed on")
	}
}

// What `arrakis dev` answers by itself yields to a service that is started.
func TestFallbackYieldsToMicroService(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fallbacks := NewHandlers()
	fallbacks.Command("stats", func(context.Context, *Message) (any, error) { return "fallback", nil })
	b.options = func(o *Options) { o.Fallbacks = fallbacks }
	b.start()
	if o := b.outcome(b.publish("commands.interaction", command("c1", "stats", "e1"))); string(o.Result) != `"fallback"` {
		t.Errorf("without a service: %+v, result %s", o, o.Result)
	}
	service, err := micro.AddService(b.nc, micro.Config{Name: "stats", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Stop() //nolint:errcheck // the test is over
	err = service.AddEndpoint("stats", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond([]byte(`"service"`)) }),
		micro.WithEndpointSubject("handlers.command.stats"))
	if err != nil {
		t.Fatal(err)
	}
	if o := b.outcome(b.publish("commands.interaction", command("c1", "stats", "e2"))); string(o.Result) != `"service"` {
		t.Errorf("with a service: %+v, result %s", o, o.Result)
	}
}

func TestMicroServiceErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	service, err := micro.AddService(b.nc, micro.Config{Name: "errors", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Stop() //nolint:errcheck // the test is over
	err = service.AddEndpoint("no", micro.HandlerFunc(func(r micro.Request) {
		_ = r.Error("403", "not yours", nil)
	}), micro.WithEndpointSubject("handlers.command.no"))
	if err != nil {
		t.Fatal(err)
	}
	b.start()
	o := b.outcome(b.publish("commands.interaction", command("c1", "no", "e1")))
	if diff := cmp.Diff(&contract.Error{Code: 403, Message: "not yours"}, o.Error); o.Status != contract.StatusError || diff != "" {
		t.Errorf("status %s, error (-want +got)\n%s", o.Status, diff)
	}
	testserver.Eventually(t, "the message is done", func() bool { return b.left(contract.StreamCommands, contract.ConsumerCommand) == 0 })
	if n := b.deadLetters("*"); n != 0 {
		t.Errorf("%d dead letters, want none: the handler has answered", n)
	}
	if n := b.commands("refused"); n != 1 {
		t.Errorf("%v commands are counted as refused, want 1", n)
	}
}

// A message that is too large for a request to a handler is a dead letter at once, and its sender is told.
func TestTooLargeForAHandler(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start()
	body := command("c1", "large", "e1")
	padding := bytes.Repeat([]byte(" "), int(b.nc.MaxPayload())-len(body)-120) // JSON may end with spaces
	o := b.outcome(b.publish("commands.interaction", append(body, padding...)))
	if o.Error == nil || o.Error.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("outcome %+v, error %+v", o, o.Error)
	}
	if n := b.deadLetters(contract.ReasonNoHandler); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

// service starts a micro service for a command.
func (b *bundle) service(command string, f func(micro.Request)) micro.Service {
	b.t.Helper()
	s, err := micro.AddService(b.nc, micro.Config{Name: command, Version: "1.0.0"})
	if err == nil {
		err = s.AddEndpoint(command, micro.HandlerFunc(f), micro.WithEndpointSubject("handlers.command."+command))
	}
	if err == nil {
		err = b.nc.Flush()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.Stop() })
	return s
}
