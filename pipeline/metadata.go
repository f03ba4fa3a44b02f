package pipeline

import (
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// metadata is what JetStream reports about a message.
type metadata struct {
	position
	pending uint64 // later messages that the consumer has not delivered
}

// position is what stays true of a delivery.
type position struct {
	sequence  uint64 // sequence number in the stream
	delivered uint64 // number of this delivery, from 1
	stored    int64  // when, by JetStream's clock, in ns since 1970
}

// metadataOf reads a message's reply subject,
//
//	$JS.ACK[.<domain>.<account hash>].<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<stored, ns>.<pending>[.<token>]
//
// (ADR-15 of NATS). For any other form it falls back on the library's Metadata, which costs five times as much and an
// allocation; see BenchmarkMetadata.
func metadataOf(msg jetstream.Msg) (metadata, error) {
	if m, ok := parseMetadata(msg.Reply()); ok {
		return m, nil
	}
	meta, err := msg.Metadata()
	if err != nil {
		return metadata{}, err
	}
	return metadata{
		position: position{sequence: meta.Sequence.Stream, delivered: meta.NumDelivered, stored: meta.Timestamp.UnixNano()},
		pending:  meta.NumPending,
	}, nil
}

func parseMetadata(reply string) (m metadata, ok bool) {
	const prefix, short, long = "$JS.ACK.", 7, 9 // tokens behind the prefix, without the last of the long form
	rest, ok := strings.CutPrefix(reply, prefix)
	if !ok {
		return m, false
	}
	skip := 2 // stream and consumer
	switch tokens := strings.Count(rest, ".") + 1; {
	case tokens == short:
	case tokens >= long:
		skip = 4
	default:
		return m, false
	}
	for range skip {
		rest = rest[strings.IndexByte(rest, '.')+1:]
	}
	var numbers [5]uint64
	for i := range numbers {
		if numbers[i], rest, ok = decimal(rest); !ok {
			return m, false
		}
	}
	return metadata{
		position: position{delivered: numbers[0], sequence: numbers[1], stored: int64(numbers[3])}, //nolint:gosec // below 9e18
		pending:  numbers[4],
	}, true
}

// decimal reads a number of 1 to 19 digits up to a dot or the end of the text. The number is below 9e18, which fits
// into an int64. rest is the text after the dot.
func decimal(s string) (n uint64, rest string, ok bool) {
	i := 0
	for ; i < len(s) && i < 20 && s[i] != '.'; i++ {
		c := s[i] - '0'
		if c > 9 {
			return 0, "", false
		}
		n = 10*n + uint64(c)
	}
	if i == 0 || i > 19 || i == 19 && s[0] > '8' {
		return 0, "", false
	}
	return n, s[min(i+1, len(s)):], true
}
