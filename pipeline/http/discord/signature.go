package discord

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"arrakis/pipeline/discord"
	"arrakis/pipeline/http/body"
	"arrakis/pipeline/http/problem"
)

// The headers of a signature.
const (
	headerSignature = "X-Signature-Ed25519"
	headerTimestamp = "X-Signature-Timestamp"
)

// MaxAge is how old a signature may be, so that nobody can send what they have seen some time ago. Clocks may differ by
// it too.
const MaxAge = 10 * time.Second

// maxBody is the size of the largest body in bytes. A message with all that it may have, resolved for a command, has some
// 100 KiB.
const maxBody = 256 << 10

// rules are the rules for all bodies.
func rules() body.Rules {
	return body.Rules{MaxBytes: maxBody, Types: []string{body.JSON}, TooLarge: "Discord sends no such bodies."}
}

// signed returns the body of the request. If it is not from Discord, ok is false, and the request is answered.
func (c *call) signed() (text []byte, ok bool) {
	if c.r.Method != http.MethodPost {
		c.refuse(endMalformed, problem.MethodNotAllowed(c.w.Header(), c.r, http.MethodPost))
		return nil, false
	}
	timestamp, signature := c.r.Header.Get(headerTimestamp), c.r.Header.Get(headerSignature)
	if timestamp == "" || signature == "" { // before the body is read for nothing
		c.refuse(endUnauthorized, unauthorized())
		return nil, false
	}
	text, p := c.h.o.Ingress.ReadBody(c.w, c.r, rules())
	if p != nil {
		c.refuse(endMalformed, p)
		return nil, false
	}
	if !c.h.o.Keys.Verify(timestamp, text, signature) {
		c.refuse(endUnauthorized, unauthorized())
		return nil, false
	}
	// Only who has signed well learns of this machine's clock.
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if age := c.arrived.Sub(time.Unix(seconds, 0)); err != nil || age.Abs() > MaxAge {
		c.refuse(endStale, problem.New(http.StatusUnauthorized, "stale-signature",
			"The request was signed at %.32q, which is more than %.0f s away from %d, the time here. "+
				"It is a repetition, or this machine's clock is wrong: check that it is synchronised.",
			timestamp, MaxAge.Seconds(), c.arrived.Unix()).About(headerTimestamp))
		return nil, false
	}
	return text, true
}

// unauthorized is the problem of a request that is not signed, or not well.
func unauthorized() *problem.Problem {
	return problem.New(http.StatusUnauthorized, "invalid-signature",
		"The body is not signed with a key of the application. Check that DISCORD_PUBLIC_KEY is the public key "+
			"that the developer portal shows, and that no proxy changes the body.").About(headerSignature)
}

// malformed is the problem of a body that is signed, but cannot be read.
func malformed(err error) *problem.Problem {
	p := problem.New(http.StatusBadRequest, "malformed", "%s", err.Error())
	if fault, ok := errors.AsType[*discord.ParseError](err); ok {
		p.Field = fault.Field
	}
	return p
}
