package contract_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// kindOf is the kind of a fixture, by its name.
func kindOf(name string) contract.Kind {
	switch {
	case strings.HasPrefix(name, "eligibility-sync"):
		return contract.KindSync
	case strings.HasPrefix(name, "eligibility"):
		return contract.KindEligibility
	case strings.HasPrefix(name, "guild-join"), strings.HasPrefix(name, "guild-leave"), strings.HasPrefix(name, "member"):
		return contract.KindEvent
	default:
		return contract.KindCommand
	}
}

func TestDecodeGoodFixtures(t *testing.T) {
	for name, body := range testserver.Fixtures(t, "good") {
		t.Run(name, func(t *testing.T) {
			e, err := contract.Decode(kindOf(name), body)
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			var want struct {
				EventID     string          `json:"event_id"`
				EventType   string          `json:"event_type"`
				CommunityID string          `json:"community_id"`
				GuildID     string          `json:"guild_id"`
				UserID      string          `json:"user_id"`
				CheckType   string          `json:"check_type"`
				Timestamp   int64           `json:"timestamp"`
				Data        json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal(body, &want); err != nil {
				t.Fatal(err)
			}
			if want.CommunityID == "" {
				want.CommunityID = want.GuildID
			}
			got := want
			got.EventID, got.EventType, got.CommunityID, got.GuildID = e.EventID, e.EventType, e.TenantKey, e.GuildID
			got.UserID, got.CheckType, got.Timestamp, got.Data = e.UserID, e.CheckType, e.Timestamp, e.Data
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestDecodeBadFixtures(t *testing.T) {
	wantField := map[string]string{
		"command-name-empty.json":          "data.command_name",
		"command-name-space.json":          "data.command_name",
		"command-name-subject-tokens.json": "data.command_name",
		"command-name-too-long.json":       "data.command_name",
		"command-name-upper.json":          "data.command_name",
		"event-id-missing.json":            "event_id",
		"event-type-missing.json":          "event_type",
		"guild-id-injection.json":          "guild_id",
		"guild-id-number.json":             "guild_id",
		"guild-id-too-long.json":           "guild_id",
		"guild-id-wildcard.json":           "guild_id",
		"no-community.json":                "community_id",
		"timestamp-negative.json":          "timestamp",
		"timestamp-string.json":            "timestamp",
	}
	for name, body := range testserver.Fixtures(t, "bad") {
		t.Run(name, func(t *testing.T) {
			_, err := contract.Decode(contract.KindCommand, body)
			var de *contract.DecodeError
			if !errors.As(err, &de) {
				t.Fatalf("Decode: %v, want a *DecodeError", err)
			}
			want := contract.ReasonMalformed
			if name == "no-community.json" {
				want = contract.ReasonNoCommunity
			}
			if de.Reason != want || de.Field != wantField[name] {
				t.Errorf("reason %q, field %q; want %q, %q", de.Reason, de.Field, want, wantField[name])
			}
			if len(de.Error()) > 300 {
				t.Errorf("the error repeats %d bytes of hostile input", len(de.Error()))
			}
		})
	}
}

func TestDecodeCommand(t *testing.T) {
	tests := []struct{ name, eventType, data, want string }{
		{"named", "interaction.create", `{"command_name":"stats"}`, "stats"},
		{"escaped", "interaction.create", `{"command_\u006eame":"st\u0061ts"}`, "stats"},
		{"none", "interaction.create", `{}`, "unknown"},
		{"null", "interaction.create", `{"command_name":null}`, "unknown"},
		{"data is null", "interaction.create", `null`, "unknown"},
		{"data is a list", "interaction.create", `[{"command_name":"no"}]`, "unknown"},
		{"nested does not count", "interaction.create", `{"options":{"command_name":"no"}}`, "unknown"},
		{"from the type", "interaction.command.top", `{}`, "top"},
		{"data first", "interaction.command.top", `{"command_name":"stats"}`, "stats"},
		{"bad in the type", "interaction.command.Top", `{}`, ""},
		{"two tokens in the type", "interaction.command.a.b", `{}`, ""},
		{"not a string", "interaction.create", `{"command_name":7}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := `{"event_id":"e","event_type":"` + tt.eventType + `","guild_id":"g","data":` + tt.data + `}`
			e, err := contract.Decode(contract.KindCommand, []byte(body))
			if (err == nil) != (tt.want != "") || err == nil && e.Command != tt.want {
				t.Errorf("command %q, error %v; want %q", e.Command, err, tt.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct{ name, body, field string }{
		{"duplicate by escape", `{"event_id":"e","event_type":"t","guild_id":"g","x":1,"\u0078":2}`, ""},
		{"duplicate deep in data", `{"event_id":"e","event_type":"t","guild_id":"g","data":{"o":[{"a":1,"a":2}]}}`, ""},
		{"event ID with a line break", `{"event_id":"e\r\nX: y","event_type":"t","guild_id":"g"}`, "event_id"},
		{"event ID is null", `{"event_id":null,"event_type":"t","guild_id":"g"}`, "event_id"},
		{"event ID is empty", `{"event_id":"","event_type":"t","guild_id":"g"}`, "event_id"},
		{"event type with an empty token", `{"event_id":"e","event_type":"a..b","guild_id":"g"}`, "event_type"},
		{"event type with a wildcard", `{"event_id":"e","event_type":"a.>","guild_id":"g"}`, "event_type"},
		{"community is a list", `{"event_id":"e","event_type":"t","community_id":[]}`, "community_id"},
		{"user is an object", `{"event_id":"e","event_type":"t","guild_id":"g","user_id":{}}`, "user_id"},
		{"fractional timestamp", `{"event_id":"e","event_type":"t","guild_id":"g","timestamp":1.5}`, "timestamp"},
		{"huge timestamp", `{"event_id":"e","event_type":"t","guild_id":"g","timestamp":99999999999999999999}`, "timestamp"},
		{"unpaired surrogate", `{"event_id":"e","event_type":"t","guild_id":"g","x":"\ud800"}`, ""},
		{"control character", "{\"event_id\":\"e\",\"event_type\":\"t\",\"guild_id\":\"g\",\"x\":\"\x01\"}", ""},
		{"leading zero", `{"event_id":"e","event_type":"t","guild_id":"g","x":01}`, ""},
		{"bare word", `{"event_id":"e","event_type":"t","guild_id":"g","x":nul}`, ""},
		{"trailing comma", `{"event_id":"e","event_type":"t","guild_id":"g",}`, ""},
		{"byte order mark", "\xef\xbb\xbf{}", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := contract.Decode(contract.KindCommand, []byte(tt.body))
			var de *contract.DecodeError
			if !errors.As(err, &de) || de.Field != tt.field {
				t.Errorf("error %v, want a *DecodeError for field %q", err, tt.field)
			}
		})
	}
}

func TestDecodePartial(t *testing.T) {
	e, err := contract.DecodePartial(contract.KindCommand, []byte(`{"guild_id":"g"}`))
	if err != nil || e.EventID != "" || e.EventType != "" || e.TenantKey != "g" {
		t.Errorf("DecodePartial = %+v, %v", e, err)
	}
	_, err = contract.DecodePartial(contract.KindEligibility, []byte(`{"guild_id":"g"}`))
	if err == nil || !strings.HasPrefix(err.Error(), "check_type") {
		t.Errorf("error %v, want one that names check_type", err)
	}
}

func TestDecodeManyMembers(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`{"event_id":"e","event_type":"t","guild_id":"g","data":{`)
	for i := range 50_000 {
		b.WriteString(`"k`)
		b.WriteString(strings.Repeat("x", i%7))
		json.NewEncoder(&b).Encode(i) //nolint:errcheck,errchkjson // a bytes.Buffer and an int
		b.Truncate(b.Len() - 1)
		b.WriteString(`":0,`)
	}
	good := b.String() + `"last":0}}`
	if _, err := contract.Decode(contract.KindEvent, []byte(good)); err != nil {
		t.Errorf("50,001 members: %v", err)
	}
	bad := b.String() + `"k0":0}}`
	if _, err := contract.Decode(contract.KindEvent, []byte(bad)); err == nil {
		t.Error("a duplicate among 50,001 members was not refused")
	}
}

func TestValidReplyTo(t *testing.T) {
	for subject, want := range map[string]bool{
		"_INBOX.abc":                           true,
		"_INBOX.abc.def":                       true,
		"_INBOX.":                              false,
		"_INBOX":                               false,
		"_INBOX.a..b":                          false,
		"_INBOX.a.":                            false,
		"_INBOX.>":                             false,
		"_INBOX.a b":                           false,
		"_INBOX.a\r\nPUB x 0":                  false,
		"commands.interaction":                 false,
		"_INBOX." + strings.Repeat("x", 1_000): false,
	} {
		if got := contract.ValidReplyTo(subject); got != want {
			t.Errorf("ValidReplyTo(%q) = %v", subject, got)
		}
	}
}

// fuzzedMost is how many bytes of an input the fuzz targets look at: longer ones find nothing new and cost the time of
// many shorter ones.
const fuzzedMost = 4 << 10

// FuzzDecode holds the scanner against jsontext: what the one takes for JSON the other does too, and Data is the
// member's bytes as they came.
func FuzzDecode(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		for name, body := range testserver.Fixtures(f, dir) {
			f.Add(uint8(kindOf(name)), body)
		}
	}
	f.Add(uint8(contract.KindEvent), []byte(`{"event_id":"e","event_type":"t","guild_id":"g","data":{"a":[1.5e-3,true,null,"\ud83c\udfdc\n"]}}`))
	// More members than are compared one by one: without and with a duplicate.
	many := `{"event_id":"e","event_type":"t","guild_id":"g","data":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,` +
		`"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1,"r":1`
	f.Add(uint8(contract.KindEvent), []byte(many+`}}`))
	f.Add(uint8(contract.KindEvent), []byte(many+`,"\u0061":2}}`))
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		checkDecode(t, contract.Kind(kind%uint8(contract.NumKinds)), body[:min(len(body), fuzzedMost)])
	})
}

// TestDecodeDepth holds the scanner against jsontext where both end to descend.
func TestDecodeDepth(t *testing.T) {
	for depth := contract.MaxDepth - 3; depth < contract.MaxDepth+3; depth++ {
		checkDecode(t, contract.KindEvent, []byte(`{"event_id":"e","event_type":"t","guild_id":"g","data":`+
			strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`))
	}
}

// checkDecode decodes body and compares what comes of it with jsontext.
func checkDecode(t *testing.T, kind contract.Kind, body []byte) {
	t.Helper()
	e, err := contract.Decode(kind, body)
	strict := jsontext.Value(body).IsValid()
	var de *contract.DecodeError
	switch {
	case err == nil && !strict:
		t.Fatalf("Decode took what jsontext refuses: %q", body)
	case err != nil && !errors.As(err, &de):
		t.Fatalf("error %T, want a *DecodeError", err)
	case err != nil && de.Field == "" && strict && jsontext.Value(body).Kind() == '{':
		t.Fatalf("Decode refuses the syntax that jsontext takes: %q: %v", body, err)
	case err != nil:
		return
	}
	var want struct {
		Data jsontext.Value `json:"data"`
	}
	if err := jsonv2.Unmarshal(body, &want); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	if !bytes.Equal(want.Data, e.Data) {
		t.Errorf("Data = %q, want %q", e.Data, want.Data)
	}
}

// typical is the 420-byte message of the load tests.
var typical = []byte(`{"event_id":"1b4e28ba-2fa1-41d2-883f-000000000001","event_type":"interaction.create","shard_id":7,` +
	`"timestamp":1767225600000,"guild_id":"700000000000000001","channel_id":"700000000000000002","user_id":"700000000000000003",` +
	`"data":{"interaction_id":"700000000000000010","interaction_type":"ApplicationCommand","interaction_token":"aW50ZXJhY3Rpb24",` +
	`"command_name":"stats","subcommand":"weekly","options":{"page":2,"public":false}}}`)

// allocationsAllowed is 0 but under the race detector.
var allocationsAllowed float64

func TestDecodeAllocations(t *testing.T) {
	got := testing.AllocsPerRun(100, func() {
		if _, err := contract.Decode(contract.KindCommand, typical); err != nil {
			t.Fatal(err)
		}
	})
	if got > allocationsAllowed {
		t.Errorf("Decode allocates %v times", got)
	}
}

func BenchmarkDecode(b *testing.B) {
	b.Run("arrakis", func(b *testing.B) {
		b.SetBytes(int64(len(typical)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := contract.Decode(contract.KindCommand, typical); err != nil {
				b.Fatal(err)
			}
		}
	})
	type envelope[Raw any] struct {
		EventID   string  `json:"event_id"`
		EventType string  `json:"event_type"`
		ShardID   int     `json:"shard_id"`
		Timestamp int64   `json:"timestamp"`
		GuildID   *string `json:"guild_id"`
		UserID    *string `json:"user_id"`
		Data      Raw     `json:"data"`
	}
	type data struct {
		CommandName string `json:"command_name"`
	}
	b.Run("jsontext", func(b *testing.B) { // only checks; reads no field
		b.SetBytes(int64(len(typical)))
		b.ReportAllocs()
		for b.Loop() {
			if !jsontext.Value(typical).IsValid() {
				b.Fatal("refused")
			}
		}
	})
	b.Run("json-v2", func(b *testing.B) {
		b.SetBytes(int64(len(typical)))
		b.ReportAllocs()
		for b.Loop() {
			var e envelope[jsontext.Value]
			var d data
			if err := errors.Join(jsonv2.Unmarshal(typical, &e), jsonv2.Unmarshal(e.Data, &d)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) { // not strict
		b.SetBytes(int64(len(typical)))
		b.ReportAllocs()
		for b.Loop() {
			var e envelope[json.RawMessage]
			var d data
			if err := errors.Join(json.Unmarshal(typical, &e), json.Unmarshal(e.Data, &d)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
