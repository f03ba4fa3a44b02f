package idempotency

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMemoryIsBounded checks I6: the newest answers are in memory, up to a size.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMemory(10 * (overhead + 100))
	now := time.Now()
	state := strings.Repeat("x", 100)
	for i := range 100 {
		m.keep(fmt.Sprint(i), remembered{fingerprint: "f", state: state, until: now.Add(time.Hour)})
		m.keep(fmt.Sprint(i), remembered{fingerprint: "f", state: state, until: now.Add(time.Hour)})
	}
	if m.bytes > m.maxBytes || m.bytes != m.answers.Len()*(overhead+100) || m.answers.Len() != 10 {
		t.Errorf("%d answers of %d bytes, want 10 of %d", m.answers.Len(), m.bytes, m.maxBytes)
	}
	if _, ok := m.answer("99", now); !ok {
		t.Error("the newest answer is forgotten")
	}
	if _, ok := m.answer("99", now.Add(2*time.Hour)); ok {
		t.Error("an answer is remembered for longer than it is kept")
	}
	m.keep("huge", remembered{state: strings.Repeat("x", 10_000)})
	if m.bytes != 0 || m.answers.Len() != 0 {
		t.Errorf("%d answers of %d bytes after one that is larger than the memory", m.answers.Len(), m.bytes)
	}
}
