package lanes

import (
	"testing"
	"time"
)

func TestEnters(t *testing.T) {
	const ms = time.Millisecond
	// A source of 10,000 that other processes hardly use; nothing of the community yet.
	idle := Load{Pool: 10_000, Source: 5_000, Unacked: 5_000, Budget: 256 << 20}
	for _, test := range []struct {
		name   string
		change func(*Load)
		want   bool
	}{
		{"nothing", func(*Load) {}, false},
		{"a tenth of what is held, fast", func(l *Load) { l.Messages, l.Waited = 600, 199*ms }, false},
		{"a tenth of what is held, that waits", func(l *Load) { l.Messages, l.Source, l.Waited = 101, 1_000, 200*ms }, true},
		{"a tenth exactly", func(l *Load) { l.Messages, l.Source, l.Waited = 100, 1_000, 200*ms }, false},
		{"everything, but too few to mean anything", func(l *Load) { l.Messages, l.Source, l.Waited = 29, 29, time.Hour }, false},
		{"everything", func(l *Load) { l.Messages, l.Source, l.Waited = 30, 30, time.Hour }, true},
		{"a twentieth of the pool, worked off at once", func(l *Load) { l.Messages, l.Source, l.Expected = 501, 501, 100*ms }, false},
		{"a twentieth of the pool, that will take long", func(l *Load) { l.Messages, l.Expected = 501, 200*ms }, true},
		{"less, that will take long", func(l *Load) { l.Messages, l.Expected = 500, time.Hour }, false},
		{"a tenth of what others have left", func(l *Load) { l.Messages, l.Unacked, l.Waited = 31, 9_700, time.Second }, true},
		{"a tenth of what others have left, fast", func(l *Load) { l.Messages, l.Unacked, l.Waited = 31, 9_700, 999*ms }, false},
		{"a tenth of handler time", func(l *Load) { l.Messages, l.HandlerShare, l.Waited = 31, 0.11, time.Second }, true},
		{"a tenth of handler time, fast", func(l *Load) { l.Messages, l.HandlerShare, l.Waited = 31, 0.9, 10*ms }, false},
		{"a few that are large", func(l *Load) { l.Messages, l.Bytes, l.Waited = 3, 26<<20, time.Second }, true},
		{"a small pool", func(l *Load) { l.Pool, l.Source, l.Unacked, l.Messages, l.Waited = 50, 50, 50, 30, time.Second }, true},
	} {
		l := idle
		test.change(&l)
		if got := l.Enters(); got != test.want {
			t.Errorf("%s: enters %t, want %t: %+v", test.name, got, test.want, l)
		}
	}
}

func TestMayLeave(t *testing.T) {
	const stay = 10 * time.Second
	for _, test := range []struct {
		messages uint64
		busy     bool
		stay     time.Duration
		want     bool
	}{
		{0, false, stay, true},
		{DueMessages - 1, false, stay, true},
		{DueMessages, false, time.Hour, false},
		{0, true, time.Hour, false},
		{0, false, stay - 1, false},
		{0, false, -time.Hour, false}, // the clock was set back
	} {
		if got := mayLeave(test.messages, test.busy, test.stay, stay); got != test.want {
			t.Errorf("%+v: may leave %t", test, got)
		}
	}
}
