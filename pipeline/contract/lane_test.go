package contract

import "testing"

func TestLaneSubjects(t *testing.T) {
	subject := LaneSubject(KindEligibility, "comm:a_b-7", 3)
	if subject != "overflow.eligibility.comm:a_b-7.03" {
		t.Error(subject)
	}
	if k, community, lane, ok := ParseLaneSubject(subject); k != KindEligibility || community != "comm:a_b-7" || lane != 3 || !ok {
		t.Errorf("%s: %s, %s, %d, %t", subject, k, community, lane, ok)
	}
	for _, subject := range []string{
		"", "overflow", "overflow.command.a", "overflow.command.a.3", "overflow.command.a.+3", "overflow.command.a.40", "overflow.command.a.-1",
		"overflow.other.a.03", "overflow.command..03", "overflow.command.a b.03", "overflow.command.a.03.4", "commands.command.a.03",
	} {
		if _, _, _, ok := ParseLaneSubject(subject); ok {
			t.Errorf("%q is taken for the subject of a lane", subject)
		}
	}
}

func TestLaneConsumers(t *testing.T) {
	for lane := range NumLanes {
		if got, ok := LaneOfConsumer(LaneConsumer(lane)); got != lane || !ok {
			t.Errorf("%s: lane %d, %t", LaneConsumer(lane), got, ok)
		}
	}
	if name, filter := LaneConsumer(7), LaneFilter(7); name != "lane-07" || filter != "overflow.*.*.07" {
		t.Error(name, filter)
	}
	for _, name := range []string{"", "lane-", "lane-7", "lane-40", "lane-007", "command-worker"} {
		if _, ok := LaneOfConsumer(name); ok {
			t.Errorf("%q is taken for the consumer of a lane", name)
		}
	}
}
