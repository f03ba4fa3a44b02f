package pipeline

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
)

func TestParseMetadata(t *testing.T) {
	want := metadata{position{sequence: 123, delivered: 2, stored: 1767225600123456789}, 77}
	tests := []struct {
		reply string
		ok    bool
	}{
		{"$JS.ACK.COMMANDS.command-worker.2.123.9.1767225600123456789.77", true},
		{"$JS.ACK.hub.ACCHASH.COMMANDS.command-worker.2.123.9.1767225600123456789.77", true},
		{"$JS.ACK._.ACCHASH.COMMANDS.command-worker.2.123.9.1767225600123456789.77.token", true},
		{"", false},
		{"_INBOX.abc", false},
		{"$JS.ACK.COMMANDS.command-worker.2.123.9.1767225600123456789", false},
		{"$JS.ACK.COMMANDS.command-worker.x.123.9.1767225600123456789.77", false},
		{"$JS.ACK.COMMANDS.command-worker.-2.123.9.1767225600123456789.77", false},
		{"$JS.ACK.COMMANDS.command-worker.2.123.9.99999999999999999999.77", false},
	}
	for _, tt := range tests {
		got, ok := parseMetadata(tt.reply)
		if ok != tt.ok || ok && got != want {
			t.Errorf("%q: %+v, %v", tt.reply, got, ok)
		}
	}
}

// delivered is a message as JetStream delivers it.
func delivered(b *bundle) jetstream.Msg {
	b.t.Helper()
	b.ensure()
	b.send("commands.interaction", command("c1", "ping", "e1"))
	return b.next(contract.StreamCommands, contract.ConsumerCommand)
}

func TestMetadataIsWhatTheLibraryReads(t *testing.T) {
	t.Parallel()
	msg := delivered(setup(t))
	meta, err := msg.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	want := metadata{position{sequence: meta.Sequence.Stream, delivered: meta.NumDelivered, stored: meta.Timestamp.UnixNano()}, meta.NumPending}
	if got, ok := parseMetadata(msg.Reply()); !ok || got != want {
		t.Errorf("%q: %+v, %v; want %+v", msg.Reply(), got, ok, want)
	}
}

func BenchmarkMetadata(b *testing.B) {
	msg := delivered(setup(b))
	b.Run("arrakis", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := metadataOf(msg); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := msg.Metadata(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
