package fakediscord

import (
	"errors"
	"io"
	"net/http"
)

// maxBody bounds the body of a call, in bytes.
const maxBody = 1 << 20

// call is a call of the API that has passed the faults. It returns the answer's status and value, nil for no body.
type call func(r *http.Request, body []byte) (status int, value any, fault *apiError)

// routes returns the API.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	handle := func(pattern string, count func(*Totals) *int, c call) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, count, c) })
	}
	callbacks := func(t *Totals) *int { return &t.Callbacks }
	edits := func(t *Totals) *int { return &t.Edits }
	followUps := func(t *Totals) *int { return &t.FollowUps }
	others := func(t *Totals) *int { return &t.Others }

	handle("POST "+Base+"/interactions/{id}/{token}/callback", callbacks, s.callback)
	webhook := Base + "/webhooks/{app}/{token}"
	handle("POST "+webhook, followUps, s.followUp)
	handle("PATCH "+webhook+"/messages/{message}", edits, s.edit)
	handle("GET "+webhook+"/messages/{message}", others, s.read)
	handle("DELETE "+webhook+"/messages/{message}", others, s.remove)

	application := Base + "/applications/{app}"
	for _, scope := range []string{"/commands", "/guilds/{guild}/commands"} {
		handle("GET "+application+scope, others, s.asBot(s.listCommands))
		handle("PUT "+application+scope, others, s.asBot(s.overwriteCommands))
	}
	handle("GET "+application, others, s.asBot(s.application))
	handle("GET "+application+"/entitlements", others, s.asBot(s.listEntitlements))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &apiError{Status: http.StatusNotFound, Message: "404: Not Found"})
	})
	return mux
}

// serve counts a call, applies the faults and limits, and runs it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, count func(*Totals) *int, c call) {
	token := r.PathValue("token")
	s.mu.Lock()
	*count(&s.totals)++
	if token != "" && r.Header.Get("Authorization") != "" {
		s.totals.Authorized++
	}
	f := s.nextFaultLocked()
	s.mu.Unlock()

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		writeError(w, &apiError{Status: http.StatusRequestEntityTooLarge, Code: 40005, Message: "Request entity too large"})
		return
	}
	if !f.wait(r.Context()) || f.Cut == CutBefore {
		cut(w)
		return
	}
	if f.Status != 0 {
		s.countAnswer(f.Status, f.Scope)
		f.write(w)
		return
	}
	if limited := s.limit(w.Header(), token); limited != nil {
		s.countAnswer(http.StatusTooManyRequests, limited.Scope)
		limited.write(w)
		return
	}
	status, value, fault := c(r, body)
	switch {
	case f.Cut == CutAfter:
		cut(w)
	case fault != nil:
		s.countAnswer(fault.Status, "")
		writeError(w, fault)
	case value == nil:
		w.WriteHeader(status)
	default:
		writeJSON(w, status, value)
	}
}

// countAnswer counts an answer that is not good.
func (s *Server) countAnswer(status int, scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status == http.StatusTooManyRequests:
		s.totals.Limited++
		if scope != ScopeShared {
			s.totals.Invalid++
		}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		s.totals.Invalid++
		s.totals.Refused++
	case status < 500:
		s.totals.Refused++
	}
}

// cut closes the connection without an answer.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		panic(http.ErrAbortHandler) // the server of net/http closes the connection
	}
	if err == nil {
		_ = conn.Close() // that is the point
	}
}
