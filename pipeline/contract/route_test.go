package contract

import (
	"strings"
	"testing"
)

// What other packages make of the table holds only while no two rows can be taken for each other.
func TestRoutesAreDistinct(t *testing.T) {
	seen := map[string]Kind{}
	for kind := range Kind(NumKinds) {
		r := kind.Route()
		if r.Kind != kind {
			t.Errorf("row %d is that of kind %d", kind, r.Kind)
		}
		for _, unique := range []string{"name " + r.Name, "consumer " + r.Consumer, "path " + r.HTTPPath, "subject " + r.Subject} {
			if other, taken := seen[unique]; taken {
				t.Errorf("%s is that of %s and of %s", unique, other, kind)
			}
			seen[unique] = kind
		}
		for _, other := range Routes() {
			if other.Kind != kind && strings.HasPrefix(other.Subject+".", r.Subject+".") {
				t.Errorf("messages of %s match the filter of %s", other.Kind, kind)
			}
		}
		if r.AckWait <= 0 || r.Stream == "" {
			t.Errorf("%s: ack wait %v, stream %q", kind, r.AckWait, r.Stream)
		}
	}
}

func TestSubjectFor(t *testing.T) {
	e := &Envelope{TenantKey: "comm_007", CheckType: "single", EventType: "member.join", Command: "stats"}
	for kind, want := range map[Kind]string{
		KindCommand:     "commands.interaction.comm_007",
		KindEligibility: "eligibility.check.single.comm_007",
		KindSync:        "eligibility.sync.single.comm_007",
		KindEvent:       "events.member.join.comm_007",
	} {
		if got := kind.Route().SubjectFor(e); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

func TestStreams(t *testing.T) {
	if got := strings.Join(Streams(), " "); got != "COMMANDS EVENTS ELIGIBILITY ANSWERS" {
		t.Error(got)
	}
}
