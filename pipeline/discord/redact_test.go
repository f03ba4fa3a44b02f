package discord

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// realToken has the form of Discord's tokens.
const realToken = "aW50ZXJhY3Rpb246MTI5ODA1NTI5NDQ2NDAyNDU3Njpub3RhcmVhbHRva2Vu"

func TestRedact(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"nothing", ``, ``},
		{"no token", `{"data":{"token":"USDC"}}`, `{"data":{"token":"USDC"}}`},
		{"JSON", `{"data":{"interaction_token":"abc","x":1}}`, `{"data":{"interaction_token":"[redacted]","x":1}}`},
		{"white space", "{\"interaction_token\" :\n \"abc\"}", "{\"interaction_token\" :\n \"[redacted]\"}"},
		{"escapes", `{"interaction_token":"a\/b\u003d","x":1}`, `{"interaction_token":"[redacted]","x":1}`},
		{"two", `[{"interaction_token":"a"},{"interaction_token":"b"}]`, `[{"interaction_token":"[redacted]"},{"interaction_token":"[redacted]"}]`},
		{"null", `{"interaction_token":null,"x":"y"}`, `{"interaction_token":null,"x":"y"}`},
		{"an empty one", `{"interaction_token":"","x":"y"}`, `{"interaction_token":"","x":"y"}`},
		{"again", `{"interaction_token":"[redacted]"}`, `{"interaction_token":"[redacted]"}`},
		{"JSON in a string", `{"text":"{\"interaction_token\": \"abc\", \"x\":1}"}`, `{"text":"{\"interaction_token\": \"[redacted]\", \"x\":1}"}`},
		{"cut within the token", `{"interaction_token":"ab`, `{"interaction_token":"[redacted]`},
		{"cut within an escape", `{"interaction_token":"ab\`, `{"interaction_token":"[redacted]\`},
		{"a quote is missing before", `{"a":"b,"interaction_token":"abc"}`, `{"a":"b,"interaction_token":"[redacted]"}`},
		{"as Python prints it", `{'interaction_token': 'abc', 'x': 1}`, `{'interaction_token': '[redacted]', 'x': 1}`},
		{"not UTF-8", "{\"interaction_token\":\"a\xffb\"}", `{"interaction_token":"[redacted]"}`},
		{"in a URL", `Post "https://discord.com/api/v10/webhooks/1/` + realToken + `": timeout`, `Post "https://discord.com/api/v10/webhooks/1/[redacted]": timeout`},
		{"as Discord sends it", `{"token":"` + realToken + `","type":2}`, `{"token":"[redacted]","type":2}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(tt.body)
			if got := string(Redact(body)); got != tt.want {
				t.Errorf("Redact = %s, want %s", got, tt.want)
			}
			if string(body) != tt.body {
				t.Error("Redact has written to the body")
			}
		})
	}
}

func TestRedactReturnsWhatHasNoToken(t *testing.T) {
	body := []byte(`{"data":{}}`)
	if got := Redact(body); &got[0] != &body[0] {
		t.Error("Redact has copied a body without a token")
	}
}

// FuzzRedact checks that no envelope keeps its token, wherever it is cut, and that JSON stays JSON.
func FuzzRedact(f *testing.F) {
	for _, body := range corpus(f) {
		f.Add(body, uint16(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, end uint16) {
		if got := Redact(body); json.Valid(body) && !json.Valid(got) {
			t.Fatalf("JSON has become %s", got)
		}
		i, err := Parse(body)
		if err != nil || i.Type == Ping || strings.HasPrefix(i.Token, "[redacted") {
			return
		}
		envelope, err := i.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		const member = `"interaction_token":"`
		got := Redact(envelope[:int(end)%(len(envelope)+1)])
		if bytes.Contains(got, []byte(member+i.Token[:min(len(i.Token), 9)])) {
			t.Fatalf("the token is still in %s", got)
		}
	})
}
