package discord

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// Every language has every text, with the same places for values.
func TestLanguages(t *testing.T) {
	place := regexp.MustCompile(`\{[^}]*\}`)
	known := []string{"{retry}", "{message}", "{request_id}"}
	for language, texts := range languages {
		if diff := cmp.Diff(slices.Sorted(maps.Keys(languages["en"])), slices.Sorted(maps.Keys(texts))); diff != "" {
			t.Errorf("%s has other keys than English (-want +got)\n%s", language, diff)
		}
		for key, text := range texts {
			places := place.FindAllString(text, -1)
			if diff := cmp.Diff(place.FindAllString(languages["en"][key], -1), places); diff != "" {
				t.Errorf("%s, %s has other places than English (-want +got)\n%s", language, key, diff)
			}
			for _, name := range places {
				if !slices.Contains(known, name) {
					t.Errorf("%s, %s has the place %s, which has no value", language, key, name)
				}
			}
			if units(text) > 200 {
				t.Errorf("%s, %s has %d units: nobody reads that", language, key, units(text))
			}
		}
	}
}

func TestOutcome(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_001)
	const nobody = `"allowed_mentions":{"parse":[]}`
	told := func(text string) string {
		return `{"type":4,"data":{` + nobody + `,"content":` + string(quote(text)) + `,"flags":64}}`
	}
	failed := func(code int, message string, retryMS int64) contract.Outcome {
		return contract.Outcome{Status: contract.StatusError, Error: &contract.Error{Code: code, Message: message, RetryAfterMS: retryMS}}
	}
	limited := func(action string, limit int64) contract.Outcome {
		return contract.Outcome{Status: contract.StatusRateLimited, Error: &contract.Error{Code: 429}, RateLimit: &contract.RateLimit{
			Action: action, Limit: limit, RetryAfterMS: 37_000,
		}}
	}
	for _, tt := range []struct {
		name    string
		typ     Type
		outcome contract.Outcome
		want    string
		refusal bool
	}{
		{"a result", Command, contract.Outcome{Status: contract.StatusOK, Result: json.RawMessage(`"pong"`)}, `{"type":4,"data":{` + nobody + `,"content":"pong"}}`, false},
		{"a result for a component", Component, contract.Outcome{Status: contract.StatusOK, Result: json.RawMessage(`"pong"`)}, `{"type":7,"data":{` + nobody + `,"content":"pong"}}`, false},
		{"no result", Command, contract.Outcome{Status: contract.StatusOK}, `{"type":4,"data":{` + nobody + `,"content":"✓"}}`, false},
		{"no result for a component", Component, contract.Outcome{Status: contract.StatusOK}, `{"type":7,"data":{` + nobody + `}}`, false},
		{"the community's limit", Command, limited("command", 10), told("Too many commands were used here. Try again <t:1700000038:R>."), true},
		{"the user's limit", Component, limited("user_command", 2), told("You have used too many commands. Try again <t:1700000038:R>."), true},
		{"a limit of 0", Command, limited("command", 0), told("This is not part of the current plan."), true},
		{"a limit without numbers", Command, contract.Outcome{Status: contract.StatusRateLimited}, told("Too many commands were used here. Try again <t:1700000001:R>."), true},
		{"expired", Command, contract.Outcome{Status: contract.StatusExpired, Error: &contract.Error{Code: 410}}, told("This took too long and was not done. Please try again."), true},
		{"busy", Command, failed(503, "There is more work.", 2_500), told("There is a lot to do right now. Try again <t:1700000003:R>."), true},
		{"unavailable", Command, failed(503, "Limits cannot be checked now.", 0), told("This is not available right now. Please try again in a moment."), true},
		{"the handler refuses", Command, failed(404, "There is no such {retry}.", 0), told("There is no such {retry}."), false},
		{"the handler refuses and says nothing", Command, failed(404, "", 0), told("Something went wrong. If it happens again, tell support this number: req-1"), false},
		{"the handler fails", Component, failed(500, "secret detail", 0), told("Something went wrong. If it happens again, tell support this number: req-1"), false},
		{"an error without a word", Command, contract.Outcome{Status: contract.StatusError}, told("Something went wrong. If it happens again, tell support this number: req-1"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := Words{Type: tt.typ, Locale: "en-US"}
			r, refusal := w.Outcome(&tt.outcome, "req-1", now)
			if diff := cmp.Diff(tt.want, string(r.Inline())); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if refusal != tt.refusal {
				t.Errorf("refusal is %t, want %t", refusal, tt.refusal)
			}
		})
	}
}

func TestWhoseWords(t *testing.T) {
	texts := map[string]map[string]string{
		"*":     {"expired": "any", "busy": "any {retry}", "unknown": "never"},
		"pt":    {"expired": "pt", "busy": ""},
		"pt-BR": {"expired": "pt-BR"},
	}
	for _, tt := range []struct {
		locale string
		texts  map[string]map[string]string
		key    Key
		want   string
	}{
		{"", nil, KeyExpired, languages["en"][KeyExpired]},
		{"en-GB", nil, KeyExpired, languages["en"][KeyExpired]},
		{"tr", nil, KeyExpired, languages["en"][KeyExpired]},
		{"de", nil, KeyExpired, languages["de"][KeyExpired]},
		{"fr", nil, KeyExpired, languages["fr"][KeyExpired]},
		{"es-ES", nil, KeyExpired, languages["es"][KeyExpired]},
		{"es-419", nil, KeyExpired, languages["es"][KeyExpired]},
		{"pt-BR", nil, KeyExpired, languages["pt"][KeyExpired]},
		{"ja", nil, KeyExpired, languages["ja"][KeyExpired]},
		{"pt-BR", texts, KeyExpired, "pt-BR"},
		{"pt-PT", texts, KeyExpired, "pt"},
		{"ja", texts, KeyExpired, "any"},
		{"pt-BR", texts, KeyBusy, "any <t:7:R>"},
		{"pt-BR", texts, KeyUnavailable, languages["pt"][KeyUnavailable]},
		{"", map[string]map[string]string{"en": {"expired": "mine"}, "*": {"expired": "any"}}, KeyExpired, "mine"},
		{"ja", map[string]map[string]string{"*": {"expired": strings.Repeat("x", 3_000)}}, KeyExpired, strings.Repeat("x", 1_999) + "…"},
	} {
		w := Words{Type: Command, Locale: tt.locale, Texts: tt.texts}
		r := w.Say(tt.key, Values{Retry: time.Unix(7, 0)})
		var m struct{ Content string }
		if err := json.Unmarshal(r.Data, &m); err != nil || m.Content != tt.want {
			t.Errorf("%q, %s: %.100q, want %.100q (%v)", tt.locale, tt.key, m.Content, tt.want, err)
		}
	}
}

// A text that names a time where there is none shows that to who has written it.
func TestNoTimeToRetry(t *testing.T) {
	w := Words{Type: Command, Texts: map[string]map[string]string{"*": {"expired": "again {retry}"}}}
	if r := w.Say(KeyExpired, Values{}); !strings.Contains(string(r.Data), `"again {retry}"`) {
		t.Errorf("%s", r.Data)
	}
}

// A tenant can replace every text, and no other.
func TestTenantsReplaceEveryText(t *testing.T) {
	t.Parallel()
	var keys []string
	for key := range languages["en"] {
		keys = append(keys, string(key))
	}
	less := func(a, b string) bool { return a < b }
	if diff := cmp.Diff(keys, tenant.TextKeys, cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("texts, and those that a tenant's document may have (-texts +document):\n%s", diff)
	}
}

// A handler's refusal may be of any bytes.
func TestRefusalThatIsNoUTF8(t *testing.T) {
	w := Words{Type: Command}
	r := w.Say(KeyRefused, Values{Message: "no \xff"})
	if got := string(r.Inline()); !strings.Contains(got, "no \uFFFD") {
		t.Errorf("got %q", got)
	}
}
