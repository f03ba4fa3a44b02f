package store

import (
	"strings"
	"testing"
)

// TestNumberedText: the number that Redis has in front of a document is not part of it, and what only looks like one is.
func TestNumberedText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, `{"tier":"pro"}`, `{"version":7}`, `{"version":7,"tier":"pro"}`} {
		if got := storedIn(withNumber(text, 1795778459297)); got.Text != text || got.Version != "1795778459297" {
			t.Errorf("%s comes back as %+v", text, got)
		}
	}
	for _, text := range []string{" { }", "\n{\n  \"tier\": \"pro\"}"} { // written by hand
		got := storedIn(withNumber(text, 7))
		if strings.TrimLeft(got.Text[1:], " \n") != strings.TrimLeft(strings.TrimSpace(text)[1:], " \n") || got.Version != "7" {
			t.Errorf("%q comes back as %+v", text, got)
		}
	}
	for _, text := range []string{
		`{"version":"7"}`, `{"version":}`, `{"version":7`, `{"version":7.5}`, `{"version":-7}`, `{"version": 7}`, ` {"version":7}`, `{"version":`, `{}`, ``, `x`,
	} {
		if got := storedIn(text); got.Text != text || len(got.Version) != 32 {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

// FuzzNumberedText: whatever other writers put into Redis is read as it is, or without a number that can be put back.
func FuzzNumberedText(f *testing.F) {
	for _, text := range []string{`{"version":7}`, `{"version":7,"tier":"pro"}`, `{"version":07}`, `{`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := storedIn(text)
		if got.raw != text {
			t.Fatalf("%q is remembered as %q", text, got.raw)
		}
		if got.Text != text && !strings.HasPrefix(text, numbered+string(got.Version)) {
			t.Fatalf("%q is read as %+v", text, got)
		}
	})
}

// TestVersionNumber: a hash is no number, whatever its digits are.
func TestVersionNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[Version]int64{
		"": 0, NumberedVersion(1795778459297): 1795778459297, wrongType: 0,
		"00112233445566778899aabbccddeeff": 0, "12345678901234567890123456789012": 0,
	} {
		if got := (Stored{Version: v}).Number(); got != want {
			t.Errorf("%q: %d, want %d", v, got, want)
		}
	}
}
