package main

import (
	"encoding/json"
	"testing"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

func TestEndings(t *testing.T) {
	const (
		pong      = `{"content":"pong 1"}`
		tryAgain  = `{"content":"Slow down: try again \u003ct:1700000000:R\u003e.","flags":64}`
		sorry     = `{"content":"Something went wrong.","flags":64}`
		otherPong = `{"content":"pong 2"}`
	)
	message := func(text string, ephemeral bool, how fakediscord.How) func(*ledger) {
		return func(l *ledger) {
			l.ended(fakediscord.Ended{ID: "1", How: how, After: time.Second, Ephemeral: ephemeral, Message: json.RawMessage(text)})
		}
	}
	request := func(kind int, rule *fakediscord.RuleError) func(*ledger) {
		return func(l *ledger) {
			sent := fakediscord.Sent{Issued: fakediscord.Issued{ID: "1"}, Status: 200, Response: fakediscord.Response{Type: kind}}
			if rule == nil {
				l.delivered(sent, nil, time.Millisecond)
				return
			}
			if rule.Broken {
				sent.Status = 0
			}
			l.delivered(sent, rule, time.Millisecond)
		}
	}
	breaks := request(0, &fakediscord.RuleError{Rule: "no answer: EOF", Broken: true})
	lost := message("", false, fakediscord.Lost)
	stored := func(l *ledger) { l.stored("1") }
	ran := func(l *ledger) { l.ran("1") }
	for name, tt := range map[string]struct {
		class  class
		events []func(*ledger)
		want   ending
		first  time.Duration
	}{
		"inline":              {quick, []func(*ledger){stored, ran, message(pong, false, fakediscord.Inline), request(4, nil)}, inline, time.Millisecond},
		"edited":              {slow, []func(*ledger){stored, ran, request(5, nil), message(pong, false, fakediscord.Edited)}, edited, time.Millisecond},
		"updated":             {slow, []func(*ledger){stored, ran, request(6, nil), message(pong, false, fakediscord.Edited)}, edited, time.Millisecond},
		"deferred only":       {slow, []func(*ledger){stored, ran, request(5, nil)}, unfinished, time.Millisecond},
		"refused":             {over, []func(*ledger){stored, message(tryAgain, true, fakediscord.Inline), request(4, nil)}, refused, time.Millisecond},
		"refused, late":       {over, []func(*ledger){stored, request(5, nil), message(tryAgain, false, fakediscord.Edited)}, refused, time.Millisecond},
		"refused, for all":    {over, []func(*ledger){stored, message(tryAgain, false, fakediscord.Inline), request(4, nil)}, wrong, time.Millisecond},
		"refused wrongly":     {quick, []func(*ledger){stored, message(tryAgain, true, fakediscord.Inline), request(4, nil)}, wrong, time.Millisecond},
		"admitted":            {over, []func(*ledger){stored, ran, message(pong, false, fakediscord.Inline), request(4, nil)}, inline, time.Millisecond},
		"an error":            {quick, []func(*ledger){stored, message(sorry, true, fakediscord.Inline), request(4, nil)}, wrong, time.Millisecond},
		"an error, later":     {slow, []func(*ledger){stored, request(5, nil), message(sorry, false, fakediscord.Edited)}, wrong, time.Millisecond},
		"another's answer":    {quick, []func(*ledger){stored, ran, message(otherPong, false, fakediscord.Inline), request(4, nil)}, wrong, time.Millisecond},
		"too late":            {quick, []func(*ledger){stored, ran, lost, request(0, &fakediscord.RuleError{Rule: "no answer within 3s", Late: true})}, late, 0},
		"a status":            {quick, []func(*ledger){lost, request(0, &fakediscord.RuleError{Rule: "status 503"})}, against, 0},
		"never stored":        {quick, []func(*ledger){lost, breaks}, unstored, 0},
		"stored":              {quick, []func(*ledger){stored, lost, breaks}, unanswered, 0},
		"run, not seen":       {quick, []func(*ledger){ran, lost, breaks}, unanswered, 0},
		"taken over":          {quick, []func(*ledger){stored, ran, message(pong, false, fakediscord.Callback), request(0, &fakediscord.RuleError{Broken: true})}, callback, time.Second},
		"taken over, no rule": {quick, []func(*ledger){stored, ran, message(pong, false, fakediscord.Callback)}, callback, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(true)
			l.add("1", tt.class)
			for _, event := range tt.events {
				event(l)
			}
			e := l.entries["1"]
			if got := e.ending(); got != tt.want {
				t.Errorf("%q, want %q", endingNames[got], endingNames[tt.want])
			}
			if got := e.first(); got != tt.first {
				t.Errorf("first answer after %v, want %v", got, tt.first)
			}
		})
	}
}

// Where nobody sees what is stored, an interaction that was not answered counts as lost.
func TestLedgerWithoutTap(t *testing.T) {
	l := newLedger(false)
	l.add("1", quick)
	l.delivered(fakediscord.Sent{Issued: fakediscord.Issued{ID: "1"}}, &fakediscord.RuleError{Rule: "no answer: EOF", Broken: true}, time.Second)
	if got := l.entries["1"].ending(); got != unanswered {
		t.Errorf("%q, want %q", endingNames[got], endingNames[unanswered])
	}
}

// What was sent before the load does not count.
func TestLedgerIgnoresWhatWasNotAdded(t *testing.T) {
	l := newLedger(true)
	l.stored("1")
	l.ran("1")
	l.ended(fakediscord.Ended{ID: "1"})
	l.delivered(fakediscord.Sent{Issued: fakediscord.Issued{ID: "1"}}, nil, time.Second)
	if len(l.entries) != 0 {
		t.Errorf("%d entries, want none", len(l.entries))
	}
}
