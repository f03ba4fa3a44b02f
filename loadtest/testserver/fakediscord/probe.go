package fakediscord

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Probe asks an interactions endpoint what Discord asks when its URL is set, and from time to time after that: PING must
// be answered {"type":1}, and whatever is not signed well must be answered 401. The error joins all that is wrong.
func (s *Server) Probe(ctx context.Context, endpoint string) error {
	ping, err := s.Send(ctx, endpoint, Interaction{Type: typePing})
	return errors.Join(err, s.probeSignatures(ctx, endpoint, ping.Body))
}

// ProbeEvents is Probe for an endpoint of webhook events.
func (s *Server) ProbeEvents(ctx context.Context, endpoint string) error {
	body, err := json.Marshal(map[string]any{"version": 1, "application_id": s.o.ApplicationID, "type": 0})
	return errors.Join(err, s.PingEvents(ctx, endpoint), s.probeSignatures(ctx, endpoint, body))
}

// BadSignatures are ways to sign badly, each by what is wrong with it. Each changes good headers.
var BadSignatures = map[string]func(http.Header){
	"no headers":                 func(h http.Header) { h.Del(HeaderSignature); h.Del(HeaderTimestamp) },
	"no signature":               func(h http.Header) { h.Del(HeaderSignature) },
	"no timestamp":               func(h http.Header) { h.Del(HeaderTimestamp) },
	"another signature":          func(h http.Header) { h.Set(HeaderSignature, flip(h.Get(HeaderSignature))) },
	"a signature of zeros":       func(h http.Header) { h.Set(HeaderSignature, strings.Repeat("0", 128)) },
	"a short signature":          func(h http.Header) { h.Set(HeaderSignature, h.Get(HeaderSignature)[:64]) },
	"a long signature":           func(h http.Header) { h.Set(HeaderSignature, h.Get(HeaderSignature)+"00") },
	"a signature that is no hex": func(h http.Header) { h.Set(HeaderSignature, strings.Repeat("zz", 64)) },
	"another timestamp":          func(h http.Header) { h.Set(HeaderTimestamp, h.Get(HeaderTimestamp)+"0") },
}

// flip changes the first hexadecimal digit.
func flip(signature string) string {
	if signature[0] == '0' {
		return "1" + signature[1:]
	}
	return "0" + signature[1:]
}

// probeSignatures sends the body with every bad signature, and a body that was changed after it was signed.
func (s *Server) probeSignatures(ctx context.Context, endpoint string, body []byte) error {
	var faults []error
	try := func(what string, body []byte, sign func(http.Header)) {
		status, _, err := s.post(ctx, endpoint, body, sign)
		switch {
		case err != nil:
			faults = append(faults, err)
		case status != http.StatusUnauthorized:
			faults = append(faults, broke("%s is answered %d, want 401", what, status))
		}
	}
	for what, change := range BadSignatures {
		try(what, body, func(h http.Header) {
			s.Sign(h, body, time.Now())
			change(h)
		})
	}
	changed := append(bytes.Clone(body), ' ')
	try("a body that was changed", changed, func(h http.Header) { s.Sign(h, body, time.Now()) })
	return errors.Join(faults...)
}
