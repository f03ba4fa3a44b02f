package fakediscord

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
)

// Issued is an interaction that was made.
type Issued struct {
	ID, Token string // a PING has no token
	Body      []byte // as Discord sends it, over HTTP or by a gateway (there it is the member d)

	kind   int
	record *interaction // to be remembered when it is sent; nil if it is already
	signed http.Header  // nil if it is signed when it is sent
}

// Issue makes an interaction without sending it, as a gateway would bring it. It waits for a callback. A PING is not
// remembered.
func (s *Server) Issue(i Interaction) Issued {
	issued := s.issue(i.withDefaults())
	s.remember(&issued)
	return issued
}

// Prepare makes an interaction for [Server.Deliver] at the time that i.Created says, for which it is signed, so that
// this costs nothing then. Nothing is known of it before that.
func (s *Server) Prepare(i Interaction) Issued {
	i = i.withDefaults()
	issued := s.issue(i)
	issued.signed = make(http.Header, 2)
	s.Sign(issued.signed, issued.Body, i.Created)
	return issued
}

// issue makes an interaction that is not remembered.
func (s *Server) issue(i Interaction) Issued {
	id := NewIDAt(i.Created)
	if i.Type == typePing {
		return Issued{ID: id, Body: s.body(i, id, "", nil), kind: typePing}
	}
	r := &interaction{
		id: id, token: newToken(id), channel: i.Channel, guild: i.Guild, user: i.User.ID, did: i.did(), kind: i.Type, created: i.Created,
	}
	if i.Type == typeComponent {
		r.original = i.Message
	}
	if i.Entitlements == nil {
		i.Entitlements = s.active(i.Guild, i.User.ID, i.Created)
	}
	var message *Message
	s.mu.Lock()
	if kept := s.histories.messages[i.Message]; kept != nil {
		copied := *kept
		message = &copied
	}
	s.mu.Unlock()
	return Issued{ID: id, Token: r.token, Body: s.body(i, id, r.token, message), kind: i.Type, record: r}
}

// remember takes up an interaction from which on it waits for its answer.
func (s *Server) remember(i *Issued) {
	if i.record == nil {
		return
	}
	s.tell(s.expire(time.Now())...)
	s.mu.Lock()
	defer s.mu.Unlock()
	i.record.history = s.histories.begin(i.ID, i.Token)
	s.rememberLocked(i.record)
	i.record = nil
}

// newToken returns a token in the form of Discord's, which is not documented.
func newToken(id string) string {
	secret := make([]byte, 48)
	_, _ = rand.Read(secret) // never fails
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "interaction:%s:%x", id, secret))
}
