package contract

import (
	"encoding/json"
	"time"
)

// Status is how a message ended for its caller.
type Status string

// The statuses of the contract.
const (
	StatusOK          Status = "ok"
	StatusError       Status = "error"
	StatusRateLimited Status = "rate_limited"
	StatusExpired     Status = "expired"
)

// Outcome answers a message. It is published to the message's reply-to, and is the body of a response 200 of the
// ingress.
type Outcome struct {
	EventID   string          `json:"event_id"`
	Community string          `json:"community_id"`
	Tier      string          `json:"tier"`
	Status    Status          `json:"status"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *Error          `json:"error,omitempty"`
	RateLimit *RateLimit      `json:"rate_limit,omitempty"`
}

// Error is a failure as its caller sees it.
type Error struct {
	// Code follows HTTP: 4xx is the caller's fault, 5xx is not.
	Code    int    `json:"code"`
	Message string `json:"message"`
	// RetryAfterMS is set if the message was refused because too much work waits, of all communities or of its own: the
	// time in milliseconds after which it may be sent again. Code is 503 then.
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
}

// RateLimit is the state of the community's limit after the message. Limit and Remaining are -1 for unlimited.
type RateLimit struct {
	Action       string `json:"action"`
	Limit        int64  `json:"limit"`
	Remaining    int64  `json:"remaining"`
	ResetMS      int64  `json:"reset_ms"`
	RetryAfterMS int64  `json:"retry_after_ms"`
}

// Milliseconds returns d in milliseconds. It rounds up, so that a caller who waits that long is not early.
func Milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}
