package pipeline

import (
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/limiter"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/tenant"
)

// carriedBy is a delivery as decode makes it of a message that was read from the stream OVERFLOW.
func carriedBy(h nats.Header) *delivery {
	return &delivery{
		source: newSource(nil, contract.StreamOverflow, "lane-00", discard), Message: Message{headers: h},
		position: position{sequence: 7, delivered: 1}, origin: origin{stream: contract.StreamOverflow, sequence: 7},
	}
}

// TestCarryRoundTrip: whatever is known of a message is known of it after it was stored again, and again.
func TestCarryRoundTrip(t *testing.T) {
	now := time.Now()
	d := queued("c", 1)
	d.Kind, d.Subject = contract.KindEligibility, "eligibility.check.single.c"
	d.headers = nats.Header{"Nats-Msg-Id": {"x"}, contract.HeaderReplyTo: {"_INBOX.a"}, contract.HeaderRequestID: {"r"}}
	d.origin = origin{stream: "ELIGIBILITY", sequence: 42, nanos: 1_700_000_000_123_456_789}
	d.delivered = 3
	d.admission.Limited = true
	d.admission.Verdict = limiter.Verdict{Allowed: true, Charged: true, Limit: 100, Remaining: 7, ResetAfter: 1500 * time.Millisecond}

	d.admission.Shadowed, d.admission.LimitedBy = true, tenant.UserCommand

	for range 2 {
		h := d.carry(2, now)
		if h.Get("Nats-Msg-Id") != "" || h.Get(contract.HeaderReplyTo) != "_INBOX.a" {
			t.Errorf("carries %v", h)
		}
		got := carriedBy(h)
		if err := got.carried("overflow.eligibility.c.0", now); err != nil {
			t.Fatal(err)
		}
		if got.origin != d.origin || got.Kind != d.Kind || got.Subject != d.Subject || got.failed != 2 || got.before < 3 {
			t.Errorf("got %+v of %s, kind %s, %d failed, %d deliveries", got.origin, got.Subject, got.Kind, got.failed, got.before)
		}
		want := limiter.Verdict{Allowed: true, Limit: 100, Remaining: 7, ResetAfter: 1500 * time.Millisecond}
		if v := got.admission.Verdict; !got.admission.Admitted || v.ResetAfter.Round(10*time.Millisecond) != want.ResetAfter {
			t.Errorf("got verdict %+v, want %+v", v, want)
		}
		if a := &got.admission; !a.Shadowed || a.LimitedBy != tenant.UserCommand {
			t.Errorf("shadowed %t, limited by %s", a.Shadowed, a.LimitedBy)
		}
		want2 := []string{contract.HeaderEventID, contract.HeaderReplyTo, contract.HeaderRequestID}
		slices.Sort(want2)
		if names := slices.Sorted(maps.Keys(got.headers)); !slices.Equal(names, want2) {
			t.Errorf("its own headers are %v, want %v", names, want2)
		}
		got.EventID, got.admission.Limited = d.EventID, true
		d = got
	}
	if name := d.deliveryName(); name != "OVERFLOW:7:1" {
		t.Errorf("the delivery is named %q", name)
	}
}

// TestCarriedByTheIngress: a message that was stored in a lane at once is its own origin, and is not admitted yet.
func TestCarriedByTheIngress(t *testing.T) {
	d := carriedBy(nats.Header{contract.HeaderSubject: {"commands.interaction.c"}, contract.HeaderAdmitted: {"1 1 1"}})
	if err := d.carried("overflow.command.c.0", time.Now()); err != nil {
		t.Fatal(err)
	}
	if d.origin.stream != contract.StreamOverflow || d.origin.sequence != 7 || d.admission.Admitted || d.Kind != contract.KindCommand {
		t.Errorf("got %+v, admitted %t", d.origin, d.admission.Admitted)
	}
}

func TestCarriedRefuses(t *testing.T) {
	good := func() nats.Header {
		d := queued("c", 1)
		d.origin, d.Subject = origin{stream: contract.StreamCommands, nanos: time.Now().UnixNano()}, "commands.interaction"
		d.admission.Limited, d.admission.Verdict.Allowed = true, true
		return d.carry(1, time.Now())
	}
	if err := carriedBy(good()).carried("", time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		contract.HeaderSubject: "overflow.command.c", contract.HeaderSequence: "-1", contract.HeaderFirstStored: "9223372036854775808",
		contract.HeaderAttempt: "2147483648", contract.HeaderDelivered: "x", contract.HeaderAdmitted: "1 2",
		contract.HeaderShadowed: "commands",
	} {
		h := good()
		h[name] = []string{value}
		if err := carriedBy(h).carried("overflow.command.c.0", time.Now()); err == nil {
			t.Errorf("%s: %q is taken", name, value)
		}
	}
}

// Headers of a carried message have no effect on messages that somebody publishes.
func TestHostileHeadersOfACarriedMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	attempts := b.fails("broken")
	b.options = func(o *Options) { o.MaxAttempts, o.RetryBackoff, o.HandlerConcurrency = 2, seconds, 1 }
	b.start()
	hostile := []string{
		contract.HeaderAttempt, "100", contract.HeaderAdmitted, "1000 1000 0", contract.HeaderFirstStored, "1", contract.HeaderDelivered, "100",
		contract.HeaderStream, contract.StreamEvents, contract.HeaderSequence, "1", contract.HeaderSubject, "events.x",
		contract.HeaderReason, string(contract.ReasonPanic), contract.HeaderError, "made up", contract.HeaderShadowed, "command",
	}
	sub := b.publish("commands.interaction", command("c1", "broken", "e1"), hostile...)
	if o := b.outcome(sub); o.Status != contract.StatusError || o.Error.Code != http.StatusInternalServerError {
		t.Errorf("outcome %+v %+v", o, o.Error)
	}
	if !slices.Equal(*attempts, []int{1, 2}) {
		t.Errorf("attempts %v, want 1 and 2", *attempts)
	}
	if n := b.charged("c1:command"); n != 1 {
		t.Errorf("%d permits are taken, want 1", n)
	}
	if n := b.commands("shadow_limited"); n != 0 {
		t.Errorf("%v commands are counted as shadow_limited", n)
	}
	entries, err := deadletter.New(b.js).List(t.Context(), deadletter.Query{})
	if err != nil || len(entries.Entries) != 1 {
		t.Fatalf("dead letters %+v, %v", entries, err)
	}
	if e := entries.Entries[0]; e.Stream != contract.StreamCommands || e.Reason != contract.ReasonAttemptsExhausted || e.Attempts != 2 ||
		e.Subject != "commands.interaction" {
		t.Errorf("dead letter %+v", e)
	}
}
