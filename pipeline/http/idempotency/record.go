package idempotency

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
)

// Key names a request.
type Key struct {
	Community string // as the message names it; [contract.ValidCommunity]
	Route     string // the name of the message's kind, without a colon
	EventID   string // the client's
}

const (
	keyPrefix   = "arrakis:idempotency:"
	indexPrefix = "arrakis:idempotency-keys:" // differs before the community, so that no community's name makes the two equal
)

// member is the key in the index of its community. It has two colons less than any other member could have, for the
// community is not in it.
func (k Key) member() string { return k.Route + ":" + digest([]byte(k.EventID)) }

func (k Key) index() string { return indexPrefix + k.Community }

// recordKey is the Redis key of a member.
func recordKey(community, member string) string { return keyPrefix + community + ":" + member }

// digest is 128 bits of SHA-256 in hex, so nobody finds two texts with the same digest.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:digestLen/2])
}

const digestLen = 32

// Answer is the answer to a request.
type Answer struct {
	Status int // of HTTP
	Body   []byte
	// TooLarge says that the body was larger than Options.MaxAnswer and is not known any more.
	TooLarge bool
}

// A record is the fingerprint of a message, a space and a state. The state is one of these words and what belongs to
// it: the mark's token, or the status and, after a space, the body. begin.lua knows failed too.
const (
	failed   = "failed"
	running  = "running "
	answered = "answered "
	tooLarge = "too-large "
)

// state is the state of a record that holds a.
func (a *Answer) state(maxAnswer int) string {
	status := strconv.Itoa(a.Status)
	if a.TooLarge || len(a.Body) > maxAnswer {
		return tooLarge + status
	}
	var s strings.Builder
	s.Grow(len(answered) + len(status) + 1 + len(a.Body))
	s.WriteString(answered)
	s.WriteString(status)
	s.WriteByte(' ')
	s.Write(a.Body)
	return s.String()
}

var errRecord = errors.New("the record is not of this version's form")

// parseAnswer is the answer in the state of a record.
func parseAnswer(state string) (a Answer, err error) {
	if status, ok := strings.CutPrefix(state, tooLarge); ok {
		a.TooLarge = true
		a.Status, err = strconv.Atoi(status)
	} else if rest, ok := strings.CutPrefix(state, answered); ok {
		status, body, _ := strings.Cut(rest, " ")
		a.Body = []byte(body)
		a.Status, err = strconv.Atoi(status)
	} else {
		err = errRecord
	}
	if err != nil || a.Status < 200 || a.Status > 499 {
		return Answer{}, errRecord
	}
	return a, nil
}
