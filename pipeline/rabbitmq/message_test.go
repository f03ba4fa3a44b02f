package rabbitmq

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

func TestMapped(t *testing.T) {
	t.Parallel()
	const data = `"event_id":"e1","community_id":"comm_1"`
	for name, c := range map[string]struct {
		to      Destination
		body    string
		id      string // message_id
		subject string
		stored  string // body, if it is another
		msgID   string // if it is another
	}{
		"a command": {
			to: Commands, body: `{` + data + `,"event_type":"interaction.create"}`, subject: "commands.interaction.comm_1",
		},
		"an event": {
			to: Events, body: `{` + data + `,"event_type":"member.join"}`, subject: "events.member.join.comm_1",
		},
		"a check": {
			to: Eligibility, body: `{` + data + `,"event_type":"eligibility.check","check_type":"single"}`, subject: "eligibility.check.single.comm_1",
		},
		"a sync by its event type": {
			to: Eligibility, body: `{` + data + `,"event_type":"eligibility.sync","check_type":"batch"}`, subject: "eligibility.sync.batch.comm_1",
		},
		"a sync by its check type": {
			to: Eligibility, body: `{` + data + `,"check_type":"community_sync"}`, subject: "eligibility.sync.community_sync.comm_1",
			stored: `{"event_type":"eligibility.sync",` + data + `,"check_type":"community_sync"}`,
		},
		"the envelope's event ID comes first": {
			to: Commands, body: `{` + data + `,"event_type":"x"}`, id: "m1", subject: "commands.interaction.comm_1",
		},
		"message_id in its place": {
			to: Commands, body: ` {"guild_id":"g1"}`, id: "m1", subject: "commands.interaction.g1", msgID: "g1/m1",
			stored: ` {"event_id":"m1","event_type":"interaction.create","guild_id":"g1"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mapping{queue: "q", to: c.to}.mapped(&amqp.Delivery{Body: []byte(c.body), MessageId: c.id})
			if m.msg == nil {
				t.Fatalf("a dead letter: %s", m.letter.Cause)
			}
			if c.stored == "" {
				c.stored = c.body
			}
			if c.msgID == "" {
				c.msgID = "comm_1/e1"
			}
			if m.msg.Subject != c.subject || string(m.msg.Data) != c.stored || m.msg.Header.Get(jetstream.MsgIDHeader) != c.msgID {
				t.Errorf("%s %s %s, want %s %s %s", m.msg.Subject, m.msg.Header.Get(jetstream.MsgIDHeader), m.msg.Data, c.subject, c.msgID, c.stored)
			}
		})
	}
}

func TestUnmapped(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		to       Destination
		delivery amqp.Delivery
		reason   contract.Reason
		says     string
	}{
		"no JSON":        {Commands, amqp.Delivery{Body: []byte("x")}, contract.ReasonMalformed, "expected a JSON object"},
		"compressed":     {Commands, amqp.Delivery{Body: []byte("x"), ContentEncoding: "gzip"}, contract.ReasonMalformed, `its content_encoding is "gzip"`},
		"nobody":         {Commands, amqp.Delivery{Body: []byte(`{"event_id":"e"}`)}, contract.ReasonNoCommunity, "community_id"},
		"no ID":          {Commands, amqp.Delivery{Body: []byte(`{"guild_id":"g"}`)}, contract.ReasonMalformed, "message_id"},
		"no ID to use":   {Commands, amqp.Delivery{Body: []byte(`{"guild_id":"g"}`), MessageId: "a b"}, contract.ReasonMalformed, "message_id"},
		"no event type":  {Events, amqp.Delivery{Body: []byte(`{"event_id":"e","guild_id":"g"}`)}, contract.ReasonMalformed, "event_type is missing"},
		"no check type":  {Eligibility, amqp.Delivery{Body: []byte(`{"event_id":"e","guild_id":"g"}`)}, contract.ReasonMalformed, "check_type"},
		"a bad guild ID": {Commands, amqp.Delivery{Body: []byte(`{"event_id":"e","guild_id":"a.b"}`)}, contract.ReasonMalformed, "guild_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mapping{queue: "q", to: c.to}.mapped(&c.delivery)
			if m.letter == nil {
				t.Fatalf("a message: %s", m.msg.Subject)
			}
			if m.letter.Reason != c.reason || !strings.Contains(m.letter.Cause, c.says) || m.letter.Stream != c.to.stream() {
				t.Errorf("%s %s: %s, want %s: %s", m.letter.Stream, m.letter.Reason, m.letter.Cause, c.reason, c.says)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	got := headersOf("jobs", &amqp.Delivery{
		Exchange: "bot", RoutingKey: "commands", Redelivered: true, MessageId: "m1", Type: "command", CorrelationId: "c1", ReplyTo: "r",
		AppId: "gateway", UserId: "u", ContentType: "application/json", Expiration: "60000", Priority: 3, Timestamp: time.Unix(1_700_000_000, 0),
		Headers: amqp.Table{
			"traceparent": "00-1", "tracestate": "a=1", "text": "a\r\nNats-Msg-Id: x", "number": int64(-3), "flag": true, "nothing": nil,
			"bytes": []byte{0xff}, "at": time.Unix(0, 0), "odd name:ü": "1", "odd name;ü": "2", "nan": amqp.Table{"n": math.NaN()},
			"x-death": []any{amqp.Table{"count": int64(2), "queue": "jobs", "reason": "rejected"}},
		},
	})
	want := nats.Header{
		"Amqp-Queue": {"jobs"}, "Amqp-Exchange": {"bot"}, "Amqp-Routing-Key": {"commands"}, "Amqp-Redelivered": {"true"}, "Amqp-Message-Id": {"m1"},
		"Amqp-Type": {"command"}, "Amqp-Correlation-Id": {"c1"}, "Amqp-Reply-To": {"r"}, "Amqp-App-Id": {"gateway"}, "Amqp-User-Id": {"u"},
		"Amqp-Content-Type": {"application/json"}, "Amqp-Expiration": {"60000"}, "Amqp-Priority": {"3"}, "Amqp-Timestamp": {"2023-11-14T22:13:20Z"},
		"traceparent": {"00-1"}, "tracestate": {"a=1"},
		"Amqp-Header-text": {"a  Nats-Msg-Id: x"}, "Amqp-Header-number": {"-3"}, "Amqp-Header-flag": {"true"}, "Amqp-Header-bytes": {"/w=="},
		"Amqp-Header-at": {"1970-01-01T00:00:00Z"}, "Amqp-Header-odd-name--": {"1"}, "Amqp-Header-nan": {"map[n:NaN]"},
		"Amqp-Header-x-death": {`[{"count":2,"queue":"jobs","reason":"rejected"}]`}, "Amqp-Headers-Cut": {"1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// Whatever headers there are, they have a bound, and what was left out is counted.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	table := amqp.Table{}
	for i := range 1_000 {
		table[strings.Repeat("n", 100)+string(rune('a'+i%26))+strings.Repeat("m", i)] = strings.Repeat("v", 5_000)
	}
	for i := range 20 {
		table[string(rune('a'+i))] = strings.Repeat("v", 5_000)
	}
	got := headersOf("q", &amqp.Delivery{Headers: table})
	if n := contract.Size("", got, nil); n > maxHeaders+2_000 || got.Get(headersCut) == "" {
		t.Errorf("%d bytes, %s cut", n, got.Get(headersCut))
	}
}

// Whatever comes from RabbitMQ, a worker can decode what is stored, its subject is that of its kind, and NATS takes its
// headers; what is not stored is a dead letter that says why.
func FuzzMapped(f *testing.F) {
	for _, kind := range []string{"good", "bad"} {
		for _, body := range testserver.Fixtures(f, kind) {
			f.Add(uint8(0), body, "m1", "name", "value")
		}
	}
	f.Add(uint8(2), []byte(`{"guild_id":"g","check_type":"community_sync"}`), "a b", "x-death", "a\nb")
	f.Fuzz(func(t *testing.T, to uint8, body []byte, id, name, value string) {
		m := mapping{queue: value, to: Destinations()[int(to)%len(Destinations())]}
		d := amqp.Delivery{
			Body: body, MessageId: id, RoutingKey: value, Headers: amqp.Table{name: value, value: []any{name, []byte(value)}},
		}
		got := m.mapped(&d)
		if got.letter != nil {
			if got.msg != nil || got.letter.Reason == "" || got.letter.Cause == "" || string(got.letter.Body) != string(body) || !contract.ValidSubject(got.letter.Subject) {
				t.Fatalf("%+v", got.letter)
			}
			return
		}
		route, ok := contract.RouteOf(got.msg.Subject)
		if !ok || route.Kind != got.kind || route.Stream != m.to.stream() {
			t.Fatalf("the subject is %q", got.msg.Subject)
		}
		e, err := contract.Decode(got.kind, got.msg.Data)
		if err != nil || got.msg.Header.Get(jetstream.MsgIDHeader) != e.TenantKey+"/"+e.EventID {
			t.Fatalf("%q: %v, %s", got.msg.Data, err, got.msg.Header.Get(jetstream.MsgIDHeader))
		}
		for name, values := range got.msg.Header {
			if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" || strings.ContainsAny(values[0], "\r\n") {
				t.Fatalf("header %q: %q", name, values)
			}
			if arrakis := strings.HasPrefix(name, "Arrakis-"); arrakis {
				t.Fatalf("header %q", name)
			}
		}
		if n := contract.Size("", got.msg.Header, nil); n > maxHeaders+2_000 {
			t.Fatalf("headers of %d bytes", n)
		}
	})
}
