package console

import (
	"strings"
	"testing"
)

func TestPayload(t *testing.T) {
	for body, want := range map[string]payload{
		"":                        {Text: "", Kind: "text"},
		`{"a":[1],"a":2}`:         {Text: "{\n  \"a\": [\n    1\n  ],\n  \"a\": 2\n}", Kind: "JSON", Bytes: 15},
		`{"id":9007199254740993}`: {Text: "{\n  \"id\": 9007199254740993\n}", Kind: "JSON", Bytes: 23}, // no digit is lost
		`{"a":`:                   {Text: `{"a":`, Kind: "text", Bytes: 5},
		"a\tb\r\nc\x1b[31m":       {Text: "a\tb\\u000d\nc\\u001b[31m", Kind: "text", Bytes: 11},
		"\xff\x00<b>":             {Text: `\xff\u0000<b>`, Kind: "binary", Bytes: 5},
		"\"\u202egnp.exe\"":       {Text: `"\u202egnp.exe"`, Kind: "JSON", Bytes: 12},
	} {
		if got := newPayload([]byte(body)); got != want {
			t.Errorf("%q:\n got %+v\nwant %+v", body, got, want)
		}
	}
}

// A large body is clipped, between characters.
func TestPayloadIsClipped(t *testing.T) {
	for _, body := range []string{strings.Repeat("é", maxShown), "x" + strings.Repeat("é", maxShown), `["` + strings.Repeat("x", maxShown) + `"]`, strings.Repeat("\xff", 2*maxShown)} {
		p := newPayload([]byte(body))
		if !p.Clipped || p.Bytes != len(body) || len(p.Text) > 4*maxShown || strings.Contains(p.Text, "\uFFFD") {
			t.Errorf("%.10q: %d bytes of text, %+v", body, len(p.Text), p.Bytes)
		}
	}
	if p := newPayload([]byte(strings.Repeat("x", maxShown))); p.Clipped {
		t.Error("a body of the largest size is clipped")
	}
}
