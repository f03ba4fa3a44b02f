package contract_test

import (
	"testing"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"arrakis/loadtest/testserver"
	"arrakis/pipeline/contract"
)

// refusal is an outcome with all that DecodeOutcome reads.
const refusal = `{"event_id":"e1","community_id":"comm_099","tier":"free","status":"rate_limited",` +
	`"error":{"code":429,"message":"used up"},` +
	`"rate_limit":{"action":"command","limit":10,"remaining":0,"reset_ms":36001,"retry_after_ms":36001}}`

func TestDecodeOutcome(t *testing.T) {
	for _, tt := range []struct {
		text string
		want contract.OutcomeView
		bad  bool
	}{
		{text: refusal, want: contract.OutcomeView{
			Status: contract.StatusRateLimited, Error: contract.Error{Code: 429, Message: "used up"},
			RateLimit: contract.RateLimit{Action: "command", Limit: 10, ResetMS: 36_001, RetryAfterMS: 36_001},
		}},
		{text: ` {"status":"ok","result":{"a":[1]},"rate_limit":{"limit":-1,"remaining":-1}} `, want: contract.OutcomeView{
			Status: contract.StatusOK, RateLimit: contract.RateLimit{Limit: -1, Remaining: -1},
		}},
		{text: `{"status":"error","error":{"code":503,"message":"later","retry_after_ms":3001}}`, want: contract.OutcomeView{
			Status: contract.StatusError, Error: contract.Error{Code: 503, Message: "later", RetryAfterMS: 3_001},
		}},
		{text: `{"status":"\u006fk","error":null,"rate_limit":null}`, want: contract.OutcomeView{Status: contract.StatusOK}},
		{text: `{}`},
		{text: ``, bad: true},
		{text: `[]`, bad: true},
		{text: `{"status":"ok"`, bad: true},
		{text: `{"status":"ok"}x`, bad: true},
		{text: `{"status":1}`, bad: true},
		{text: `{"status":"ok","status":"ok"}`, bad: true},
		{text: `{"status":"ok","result":{"a":1,"a":2}}`, bad: true},
		{text: `{"error":[]}`, bad: true},
		{text: `{"error":{"code":"500"}}`, bad: true},
		{text: `{"error":{"code":1.5}}`, bad: true},
		{text: `{"rate_limit":{"limit":9223372036854775808}}`, bad: true},
	} {
		got, err := contract.DecodeOutcome([]byte(tt.text))
		if (err != nil) != tt.bad {
			t.Errorf("%s: error %v", tt.text, err)
		}
		if diff := cmp.Diff(tt.want, got); !tt.bad && diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.text, diff)
		}
	}
}

// FuzzOutcome holds DecodeOutcome against json v2, which reads the same or refuses the same.
func FuzzOutcome(f *testing.F) {
	for _, text := range []string{
		refusal, `{"status":"ok","result":[true,null,"\ud83c\udfdc"]}`, `{"status":null,"error":{"code":-0}}`,
		`{"error":{"code":-9223372036854775808,"message":"\u0061\"\\\/\b\f\n\r\t"},"rate_limit":{"limit":9223372036854775807,"reset_ms":1000000}}`,
	} {
		f.Add([]byte(text))
	}
	for _, result := range testserver.Fixtures(f, "good") {
		f.Add(append(append([]byte(`{"status":"ok","result":`), result...), '}'))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		text = text[:min(len(text), fuzzedMost)]
		got, err := contract.DecodeOutcome(text)
		var want struct {
			Status    contract.Status    `json:"status"`
			Error     contract.Error     `json:"error"`
			RateLimit contract.RateLimit `json:"rate_limit"`
		}
		if wrong := jsonv2.Unmarshal(text, &want); (err != nil) != (wrong != nil) {
			t.Fatalf("%q: error %v, json v2 says %v", text, err, wrong)
		}
		if err == nil && got != contract.OutcomeView(want) {
			t.Errorf("%q (-want +got)\n%s", text, cmp.Diff(contract.OutcomeView(want), got))
		}
	})
}

func TestDecodeOutcomeAllocations(t *testing.T) {
	text := []byte(refusal)
	got := testing.AllocsPerRun(100, func() {
		if _, err := contract.DecodeOutcome(text); err != nil {
			t.Fatal(err)
		}
	})
	if got > allocationsAllowed {
		t.Errorf("DecodeOutcome allocates %v times", got)
	}
}

// BenchmarkDecodeOutcome compares DecodeOutcome with json v2.
func BenchmarkDecodeOutcome(b *testing.B) {
	text := []byte(refusal)
	b.Run("arrakis", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := contract.DecodeOutcome(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json-v2", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v struct {
				Status    contract.Status    `json:"status"`
				Error     contract.Error     `json:"error"`
				RateLimit contract.RateLimit `json:"rate_limit"`
			}
			if err := jsonv2.Unmarshal(text, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
