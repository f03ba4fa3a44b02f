package program

import (
	"strings"
	"testing"
)

// Without a terminal each status is a line; on one it is written over, and cut where the terminal ends.
func TestProgress(t *testing.T) {
	show := func(terminal bool) string {
		var b strings.Builder
		p := &Progress{w: &b, terminal: terminal}
		p.Now("1 of 2")
		p.Say("fault %d", 1)
		p.Now("2 of 2")
		p.Clear()
		return b.String()
	}
	if got, want := show(false), "1 of 2\nfault 1\n2 of 2\n"; got != want {
		t.Errorf("without a terminal %q, want %q", got, want)
	}
	if got, want := show(true), "\r\033[K\033[?7l1 of 2\033[?7h\r\033[Kfault 1\n\r\033[K\033[?7l2 of 2\033[?7h\r\033[K"; got != want {
		t.Errorf("on a terminal %q, want %q", got, want)
	}
	if NewProgress(&strings.Builder{}).terminal {
		t.Error("a buffer is a terminal")
	}
}
