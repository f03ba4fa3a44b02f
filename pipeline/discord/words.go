package discord

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// Key names a text that arrakis itself says to a user. The texts are in languages.go; a tenant may have others.
type Key string

// The keys. In brackets is what stands in braces in a text.
const (
	KeyRateLimited Key = "rate_limited" // the community's limit is used up {retry}
	KeyUserLimited Key = "user_limited" // the user's limit is used up {retry}
	KeyLimitZero   Key = "limit_zero"   // the limit is 0: there is nothing to wait for
	KeyRefused     Key = "refused"      // the handler has refused, and says why {message}
	KeyError       Key = "error"        // something failed {request_id}
	KeyExpired     Key = "expired"      // the command waited for too long, and was not handled
	KeyBusy        Key = "busy"         // there is too much work {retry}
	KeyUnavailable Key = "unavailable"  // a part that is needed is away
	KeyNoHandler   Key = "no_handler"   // nothing handles the command
	KeyDone        Key = "done"         // the handler has succeeded and returned nothing
)

// Words are what arrakis says to the user of one interaction.
type Words struct {
	Type   Type   // of the interaction
	Locale string // of the user; "" is English
	// Texts are those of the tenant: by locale, by language, such as pt, or by "*" for all others, and then by key. They go
	// before those of arrakis. A key that there is not is never asked for. May be nil.
	Texts map[string]map[string]string
}

// Values are what stands in place of the names in braces in a text.
type Values struct {
	Retry     time.Time // {retry}: the user sees how long it is until then, in the user's language
	Message   string    // {message}
	RequestID string    // {request_id}
}

// Say is a message with the text of key, which only the user sees.
func (w *Words) Say(key Key, v Values) Response { return say(w.text(key, v), true) }

// text is the text of key in the tenant's words, or else in arrakis' own, in the user's language or else in English.
func (w *Words) text(key Key, v Values) string {
	language, _, _ := strings.Cut(cmp.Or(w.Locale, "en"), "-")
	text := cmp.Or(
		w.Texts[w.Locale][string(key)], w.Texts[language][string(key)], w.Texts["*"][string(key)],
		languages[language][key], languages["en"][key],
	)
	retry := "{retry}" // where there is no time, so that who has written the text sees that
	if !v.Retry.IsZero() {
		retry = fmt.Sprintf("<t:%d:R>", v.Retry.Add(time.Second-1).Unix()) // rounded up: nobody comes too early
	}
	return strings.NewReplacer("{retry}", retry, "{message}", v.Message, "{request_id}", v.RequestID).Replace(text)
}

// Outcome makes the response of a message's outcome: what the handler has returned, or in words what became of the
// message. refusal reports whether arrakis has refused it, as it does under a flood; such a response may be dropped
// rather than wait. The times of the outcome count from now. By requestID the message is found in the log.
func (w *Words) Outcome(o *contract.Outcome, requestID string, now time.Time) (r Response, refusal bool) {
	in := func(ms int64) Values { return Values{Retry: now.Add(time.Duration(ms) * time.Millisecond)} }
	switch o.Status {
	case contract.StatusOK:
		if absent(jsontext.Value(o.Result)) && w.Type != Component {
			return say(w.text(KeyDone, Values{}), false), false
		}
		return Format(w.Type, o.Result), false
	case contract.StatusRateLimited:
		limit := cmp.Or(o.RateLimit, &contract.RateLimit{Limit: -1})
		key := KeyRateLimited
		switch {
		case limit.Limit == 0:
			key = KeyLimitZero
		case limit.Action == tenant.UserCommand.String():
			key = KeyUserLimited
		}
		return w.Say(key, in(limit.RetryAfterMS)), true
	case contract.StatusExpired:
		return w.Say(KeyExpired, Values{}), true
	}
	failure := cmp.Or(o.Error, &contract.Error{})
	switch {
	case failure.Code == http.StatusServiceUnavailable && failure.RetryAfterMS > 0:
		return w.Say(KeyBusy, in(failure.RetryAfterMS)), true
	case failure.Code == http.StatusServiceUnavailable:
		return w.Say(KeyUnavailable, Values{}), true
	case failure.Code >= 400 && failure.Code <= 499 && failure.Message != "":
		return w.Say(KeyRefused, Values{Message: failure.Message}), false
	default:
		return w.Say(KeyError, Values{RequestID: requestID}), false
	}
}
