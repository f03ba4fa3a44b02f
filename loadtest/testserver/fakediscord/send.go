package fakediscord

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"time"
)

// maxAnswer bounds the answer of an endpoint, in bytes.
const maxAnswer = 1 << 20

// Sent says what an endpoint answered.
type Sent struct {
	Issued
	Status   int
	Response Response      // zero if the endpoint answered 202
	Took     time.Duration // until the whole answer was read
}

// RuleError says that an endpoint broke one of Discord's rules. A user sees that the application did not respond.
type RuleError struct {
	Rule   string
	Broken bool // there was no answer because the connection broke, or could not be made
	Late   bool // there was no whole answer in time
}

// Error implements error.
func (e *RuleError) Error() string { return "the endpoint broke a rule of Discord: " + e.Rule }

func broke(format string, args ...any) *RuleError {
	return &RuleError{Rule: fmt.Sprintf(format, args...)}
}

// Send makes an interaction, sends it to the endpoint, signed with the key in use, and applies Discord's rules to the
// answer. Errors: [*RuleError], also if there is no answer; and ctx's.
//
// A connection that breaks is no answer yet. Until the time for one is over, Send waits for a callback, with which all is
// well. Discord does not document this: its documents say only that the time ends the token.
func (s *Server) Send(ctx context.Context, endpoint string, i Interaction) (Sent, error) {
	return s.Deliver(ctx, endpoint, s.Issue(i))
}

// Deliver is Send for an interaction that was issued or prepared already.
func (s *Server) Deliver(ctx context.Context, endpoint string, i Issued) (Sent, error) {
	began := time.Now()
	s.remember(&i)
	status, body, err := s.post(ctx, endpoint, i.Body, func(h http.Header) {
		if i.signed != nil {
			maps.Copy(h, i.signed)
		} else {
			s.Sign(h, i.Body, began)
		}
	})
	sent := Sent{Issued: i, Status: status, Took: time.Since(began)}
	if err == nil {
		err = s.take(i.Token, &sent, body)
	}
	rule := (*RuleError)(nil)
	if !errors.As(err, &rule) {
		return sent, err
	}
	if rule.Broken {
		if ended := s.waitForCallback(ctx, i.Token); ended != nil {
			return sent, ended
		}
	}
	if !s.fail(i.Token, rule.Rule) {
		return sent, nil
	}
	return sent, err
}

// waitForCallback waits for a callback, until the time for the first answer is over. Its error is ctx's.
func (s *Server) waitForCallback(ctx context.Context, token string) error {
	r := s.find(token)
	if r == nil {
		return nil // a PING
	}
	changed, end := s.Changes()
	defer end()
	t := time.NewTimer(time.Until(r.created.Add(s.o.AnswerTime)))
	defer t.Stop()
	for {
		s.mu.Lock()
		waiting := r.state == unanswered
		s.mu.Unlock()
		if !waiting {
			return nil
		}
		select {
		case <-changed:
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// post posts a body to an endpoint and returns its answer.
func (s *Server) post(ctx context.Context, endpoint string, body []byte, sign func(http.Header)) (int, answer, error) {
	bounded, cancel := context.WithTimeout(ctx, s.o.AnswerTime)
	defer cancel()
	r, err := http.NewRequestWithContext(bounded, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, answer{}, fmt.Errorf("endpoint: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Discord-Interactions/1.0 (+https://discord.com)")
	sign(r.Header)
	response, err := s.o.Client.Do(r)
	if err != nil {
		return 0, answer{}, s.noAnswer(ctx, bounded, err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return response.StatusCode, answer{}, s.noAnswer(ctx, bounded, err)
	}
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")) // "" if it is broken
	return response.StatusCode, answer{media, text}, nil
}

// answer is the body of an endpoint's answer.
type answer struct {
	media string
	text  []byte
}

func (s *Server) noAnswer(ctx, bounded context.Context, err error) error {
	switch {
	case errEnded(ctx, err):
		return ctx.Err()
	case bounded.Err() != nil:
		return &RuleError{Rule: fmt.Sprintf("no answer within %v", s.o.AnswerTime), Late: true}
	default:
		return &RuleError{Rule: fmt.Sprintf("no answer: %v", err), Broken: true}
	}
}

// take applies the rules to an endpoint's answer.
func (s *Server) take(token string, sent *Sent, a answer) error {
	switch {
	case sent.Status == http.StatusAccepted && len(a.text) == 0:
		s.accept(token)
		return nil
	case sent.Status != http.StatusOK:
		return broke("status %d, want 200, or 202 without a body", sent.Status)
	case a.media != "application/json":
		return broke("Content-Type is %q, want application/json", a.media)
	case len(a.text) > maxAnswer:
		return broke("the answer is longer than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(a.text, &sent.Response); err != nil {
		return broke("the answer is no JSON: %v", err)
	}
	m, fault := checkResponse(sent.kind, sent.Response)
	if fault != nil {
		text, _ := json.Marshal(fault) // its members are strings
		return broke("the response is refused: %s", text)
	}
	s.first(token, sent.Response, m)
	return nil
}

// accept notes that a callback comes.
func (s *Server) accept(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.byToken[token]; i != nil {
		i.history.note(Event{At: time.Now(), Kind: EventAccepted})
	}
}

// first takes an answer of the endpoint. It is ignored if a callback came before.
func (s *Server) first(token string, r Response, m *message) {
	s.mu.Lock()
	var ended []Ended
	if i := s.byToken[token]; i != nil && i.state == unanswered {
		ended = s.firstLocked(i, Inline, r, m, time.Now())
	}
	s.mu.Unlock()
	s.tell(ended...)
}

// find returns the interaction of a token, nil if there is none. What it says when it is made may be read without mu.
func (s *Server) find(token string) *interaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byToken[token]
}

// fail ends an interaction whose endpoint broke a rule. It returns false if that has had its first answer by a callback.
func (s *Server) fail(token, rule string) bool {
	s.mu.Lock()
	var ended []Ended
	i := s.byToken[token]
	if i != nil {
		ended = s.failLocked(i, rule, time.Now())
	}
	s.mu.Unlock()
	s.tell(ended...)
	return i == nil || len(ended) > 0
}
