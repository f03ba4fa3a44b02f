package contract

import (
	"fmt"
	"strconv"
	"strings"
)

// A lane is where a community's messages of one kind wait while it takes more than its share: they are stored in the
// stream OVERFLOW. Their subject ends with the number of the lane, so that a bounded number of consumers reads any
// number of communities.
const (
	// NumLanes is how many lanes there are, numbered from 0.
	NumLanes = 40
	// FirstSharedLane is the first of the lanes that several communities share. Each lane below it belongs to one
	// community and kind at a time.
	FirstSharedLane = 32
)

const laneSubjects = "overflow."

// LaneFilter is the subject filter of the consumer of a lane.
func LaneFilter(lane int) string { return fmt.Sprintf("%s*.*.%02d", laneSubjects, lane) }

// LaneConsumer is the durable consumer of a lane.
func LaneConsumer(lane int) string { return fmt.Sprintf("lane-%02d", lane) }

// LaneOfConsumer is the lane whose consumer has the name. ok is false if no lane has such a consumer.
func LaneOfConsumer(name string) (lane int, ok bool) {
	digits, ok := strings.CutPrefix(name, "lane-")
	if !ok {
		return 0, false
	}
	return laneNumber(digits)
}

// LaneSubject is the subject of a community's messages of one kind in a lane. The community must be a valid ID.
func LaneSubject(k Kind, community string, lane int) string {
	return fmt.Sprintf("%s%s.%s.%02d", laneSubjects, k, community, lane)
}

// ParseLaneSubject takes apart what LaneSubject has made. ok is false for any other subject.
func ParseLaneSubject(subject string) (k Kind, community string, lane int, ok bool) {
	rest, ok := strings.CutPrefix(subject, laneSubjects)
	if !ok {
		return 0, "", 0, false
	}
	tokens := strings.Split(rest, ".")
	if len(tokens) != 3 {
		return 0, "", 0, false
	}
	k, ok = KindOf(tokens[0])
	if !ok || !ValidCommunity(tokens[1]) {
		return 0, "", 0, false
	}
	lane, ok = laneNumber(tokens[2])
	return k, tokens[1], lane, ok
}

// laneNumber reads the two digits of a lane.
func laneNumber(digits string) (lane int, ok bool) {
	lane64, err := strconv.ParseUint(digits, 10, 8)
	return int(lane64), err == nil && len(digits) == 2 && lane64 < NumLanes
}

// KindOf is the kind with the name, which [Kind.String] returns.
func KindOf(name string) (k Kind, ok bool) {
	for k := range Kind(NumKinds) {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}
