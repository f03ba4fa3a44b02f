package view

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"arrakis/tenant/store"
)

func TestChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind          store.AuditType
		before, after string
		want          []string
	}{
		{store.AuditTenant, ``, `{"communityId":"a","tier":"pro","createdAt":"x","updatedAt":"x"}`, []string{"created", "tier: pro"}},
		{
			store.AuditTenant, `{"tier":"pro","rateLimits":{"commandsPerMinute":7},"updatedAt":"x"}`,
			`{"tier":"free","rateLimits":{"syncRequestsPerDay":9007199254740993},"updatedAt":"y"}`,
			[]string{"rateLimits.commandsPerMinute: 7 → not set", "rateLimits.syncRequestsPerDay: 9007199254740993", "tier: pro → free"},
		},
		{store.AuditTenant, `{"tier":"pro"}`, ``, []string{"deleted"}},
		{store.AuditTenant, `{"tier":"pro"}`, `{"tier":"pro"}`, []string{"no change"}},
		{
			store.AuditFlag, `{"id":"a","communities":{"include":["a","b"]}}`, `{"id":"a","communities":{"include":["b","c"]}}`,
			[]string{"communities.include: +c −a"},
		},
		{store.AuditFlag, `{"communities":{"include":["a"]}}`, `{}`, []string{"communities.include: −a"}},
		{store.AuditReset, ``, `{"reset":["command","sync_request"]}`, []string{"reset: command, sync_request"}},
		{store.AuditReload, ``, ``, []string{"is read again"}},
		{"of another writer", `nonsense`, `"text"`, []string{"nonsense → text"}},
		{store.AuditTenant, `{"a":"\u001b<b>"}`, `{"a":{"b":[1]}}`, []string{"a: \x1b<b> → not set", "a.b: 1"}},
	} {
		e := AuditEntry{Type: tt.kind, Target: "a", Before: jsontext.Value(tt.before), After: jsontext.Value(tt.after)}
		if tt.before == "" {
			e.Before = nil
		}
		if tt.after == "" {
			e.After = nil
		}
		if diff := cmp.Diff(tt.want, e.Changes()); diff != "" {
			t.Errorf("%s → %s (-want +got):\n%s", tt.before, tt.after, diff)
		}
	}
}

// However large the documents are, a change is a few short lines.
func TestChangesAreBounded(t *testing.T) {
	t.Parallel()
	var members []string
	for i := range 300 {
		members = append(members, fmt.Sprintf(`"m%03d":"%s"`, i, strings.Repeat("ä", 500)))
	}
	e := AuditEntry{After: jsontext.Value("{" + strings.Join(members, ",") + "}")}
	lines := e.Changes()
	if len(lines) != maxChanges+1 || lines[maxChanges] != "and 280 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	for _, line := range lines {
		if n := len([]rune(line)); n > maxChangeText {
			t.Errorf("a line of %d characters", n)
		}
	}
	deep := AuditEntry{After: jsontext.Value(strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200))}
	if lines := deep.Changes(); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
}

// A document that is cut, or no JSON, is a string.
func TestAuditDocument(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		size int
		want string
		cut  int
	}{
		{`{"a":1}`, 7, `{"a":1}`, 0},
		{`{"a":`, 9000, `"{\"a\":"`, 9000},
		{`{"a":`, 5, `"{\"a\":"`, 0},
		{"\xff", 1, `""`, 0},
	} {
		document, cut := auditDocument(store.AuditText{Text: tt.text, Size: tt.size})
		if string(document) != tt.want || cut != tt.cut || !document.IsValid() {
			t.Errorf("%q of %d bytes is shown as %s, cut: %d", tt.text, tt.size, document, cut)
		}
	}
}
