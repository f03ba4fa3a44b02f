package fakediscord

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// The types of webhook events that say what was bought.
const (
	EntitlementCreate = "ENTITLEMENT_CREATE"
	EntitlementUpdate = "ENTITLEMENT_UPDATE"
	EntitlementDelete = "ENTITLEMENT_DELETE"
)

// Event sends a webhook event, such as EntitlementCreate with an [Entitlement], to the endpoint. Errors: [*RuleError] if
// the answer is not 204 within three seconds, and ctx's. Discord would send it again for ten minutes; Event does not.
func (s *Server) Event(ctx context.Context, endpoint, event string, data any) error {
	return s.sendEvent(ctx, endpoint, map[string]any{
		"type": 1,
		"event": map[string]any{
			"type": event, "timestamp": time.Now().UTC().Format(time.RFC3339Nano), "data": data,
		},
	})
}

// PingEvents sends the PING of webhook events, whose type is 0, and which is answered 204.
func (s *Server) PingEvents(ctx context.Context, endpoint string) error {
	return s.sendEvent(ctx, endpoint, map[string]any{"type": 0})
}

func (s *Server) sendEvent(ctx context.Context, endpoint string, event map[string]any) error {
	event["version"], event["application_id"] = 1, s.o.ApplicationID
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	status, a, err := s.post(ctx, endpoint, body, func(h http.Header) { s.Sign(h, body, time.Now()) })
	switch {
	case err != nil:
		return err
	case status != http.StatusNoContent || len(a.text) > 0:
		return broke("an event is answered %d with %d bytes, want 204 without a body", status, len(a.text))
	}
	return nil
}
