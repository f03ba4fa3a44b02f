package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The relay hears every publish with its content, whatever else a client says, and passes on each byte, until it is
// told not to.
func TestRelayHearsPublishes(t *testing.T) {
	said := "CONNECT {\"verbose\":false}\r\nPING\r\nSUB _INBOX.x.* 1\r\nPUB a 2\r\n\r\n\r\n" +
		"PUB _INBOX.b reply 5\r\nPUB x\r\nHPUB c 12 14\r\nNATS/1.0\r\n\r\nhi\r\npub d 0\r\n\r\nPONG\r\n"
	rest := "PUB stop 1\r\nx\r\nPUB never 1\r\ny\r\n"
	var heard []string
	r := &relay{publish: func(subject string, content []byte) bool {
		heard = append(heard, fmt.Sprintf("%s:%q", subject, content))
		return subject != "stop"
	}}
	var passed strings.Builder
	if err := r.read(strings.NewReader(said), &passed); err == nil {
		t.Error("the end of the connection is not an error")
	}
	want := []string{`a:"\r\n"`, `_INBOX.b:"PUB x"`, `c:"NATS/1.0\r\n\r\nhi"`, `d:""`}
	if !slices.Equal(heard, want) || passed.String() != said {
		t.Errorf("heard %q, want %q; passed on %q", heard, want, passed.String())
	}
	passed.Reset()
	if err := r.read(strings.NewReader(rest), &passed); err != nil || heard[len(heard)-1] != `stop:"x"` || strings.Contains(passed.String(), "never") {
		t.Errorf("heard %q, passed on %q, %v", heard, passed.String(), err)
	}
	if err := r.read(strings.NewReader("PUB a many\r\n"), &passed); err == nil {
		t.Error("a size that is no number is not an error")
	}
}

func TestParseOutcome(t *testing.T) {
	o, ok := parseOutcome([]byte(`{"event_id":"a","community_id":"c","tier":"pro","status":"error","error":{"code":503,"message":"m"}}`))
	if !ok || o.EventID != "a" || o.Status != "error" || o.Error.Code != 503 {
		t.Errorf("%+v, %t", o, ok)
	}
	for _, other := range []string{"", "+ACK", `{"handled":true}`, `{"event_id":"a"}`} {
		if _, ok := parseOutcome([]byte(other)); ok {
			t.Errorf("%q is an outcome", other)
		}
	}
}
