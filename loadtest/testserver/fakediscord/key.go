package fakediscord

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// The headers of what Discord sends.
const (
	HeaderSignature = "X-Signature-Ed25519"
	HeaderTimestamp = "X-Signature-Timestamp"
)

// key is one of the application's keys.
type key struct {
	private ed25519.PrivateKey
	public  string // in hexadecimal digits
}

func newKeys(n int) []key {
	keys := make([]key, n)
	for i := range keys {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err) // the system has no randomness
		}
		keys[i] = key{private, hex.EncodeToString(public)}
	}
	return keys
}

// PublicKey is the key with which interactions are verified, in hexadecimal digits, for DISCORD_PUBLIC_KEY.
func (s *Server) PublicKey() string { return s.PublicKeys()[0] }

// PublicKeys returns all keys, the one in use first.
func (s *Server) PublicKeys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	public := make([]string, 0, len(s.keys))
	for i := range s.keys {
		public = append(public, s.keys[(s.use+i)%len(s.keys)].public)
	}
	return public
}

// Rotate makes the next key sign what is sent from now on.
func (s *Server) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use = (s.use + 1) % len(s.keys)
}

// Sign sets the headers with which Discord sends the body at the given time.
func (s *Server) Sign(h http.Header, body []byte, at time.Time) {
	s.mu.Lock()
	private := s.keys[s.use].private
	s.mu.Unlock()
	timestamp := strconv.FormatInt(at.Unix(), 10)
	h.Set(HeaderTimestamp, timestamp)
	h.Set(HeaderSignature, hex.EncodeToString(ed25519.Sign(private, fmt.Appendf(nil, "%s%s", timestamp, body))))
}
