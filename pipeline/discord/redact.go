package discord

import (
	"bytes"
	"regexp"
)

// redacted stands where a token was.
const redacted = "[redacted]"

// tokenStart is what Discord's tokens begin with: "interaction:" in base64. That is not documented. So Redact does not
// rely on it, but finds by it the tokens that no member name announces: in the URL of an error, or in an interaction that
// somebody has published as Discord sent it.
const tokenStart = "aW50ZXJhY3Rpb246" //nolint:gosec // what every token begins with is no secret

var (
	tokenName = []byte("interaction_token")
	// tokenMember is the member interaction_token up to the end of its value, in JSON, in JSON within a string, in JSON that
	// ends too early, and in what other languages print for an object.
	tokenMember = regexp.MustCompile(`(?s)(interaction_token\\*["']\s*[:=]\s*\\*["'])(?:[^"'\\]|\\[^"'])+`)
	anyToken    = regexp.MustCompile(tokenStart + `[A-Za-z0-9+/=_-]*`)
)

// Redact returns body with [redacted] in place of each token of an interaction: each value of a member
// "interaction_token", and whatever has the form of Discord's tokens. It returns body itself if there is none, and never
// writes to it. The body may be any text: what was JSON still is.
func Redact(body []byte) []byte {
	if bytes.Contains(body, tokenName) {
		body = tokenMember.ReplaceAll(body, []byte("${1}"+redacted))
	}
	if bytes.Contains(body, []byte(tokenStart)) {
		body = anyToken.ReplaceAll(body, []byte(redacted))
	}
	return body
}
