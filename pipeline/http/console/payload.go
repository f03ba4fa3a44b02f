package console

import (
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxShown is how many bytes of a body are shown.
const maxShown = 16 << 10

// payload is the body of a message as text that is safe to look at, for <pre class="payload">.
type payload struct {
	Text    string
	Kind    string // "JSON", "text" or "binary"
	Bytes   int    // of the body
	Clipped bool   // Text is not all of it
}

// newPayload makes the text of a body: JSON with a member on each line, other text as it is. Characters that would not be
// seen, or would change how others are read, are shown as their codes; line breaks and tabs stay.
func newPayload(body []byte) payload {
	p := payload{Kind: "text", Bytes: len(body)}
	if !utf8.Valid(body) {
		p.Kind = "binary"
	}
	text := string(body)
	if v := jsontext.Value(strings.TrimSpace(text)); p.Kind == "text" && len(v) > 0 && v.IsValid(jsontext.AllowDuplicateNames(true)) {
		p.Kind = "JSON"
		if err := v.Indent(jsontext.AllowDuplicateNames(true), jsontext.WithIndent("  ")); err == nil {
			text = string(v)
		}
	}
	if len(text) > maxShown {
		p.Clipped = true
		text = strings.ToValidUTF8(text[:maxShown], "")
		if p.Kind == "binary" {
			text = string(body[:maxShown])
		}
	}
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		bare, broken := strings.CutSuffix(line, "\n")
		parts := strings.Split(bare, "\t")
		for j := range parts {
			parts[j] = visible(parts[j])
		}
		lines[i] = strings.Join(parts, "\t")
		if broken {
			lines[i] += "\n"
		}
	}
	p.Text = strings.Join(lines, "")
	return p
}
