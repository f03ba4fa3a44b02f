package workload

import (
	"fmt"
	"strings"
)

// MessageSize is the size of every message in bytes.
const MessageSize = 420

// Subject is where the messages are published.
const Subject = "commands.interaction"

// Command is the command of every message.
const Command = "stats"

// The parts of a message around what differs.
const (
	beforeEvent     = `{"event_id":"`
	beforeCommunity = `","event_type":"interaction.create","shard_id":7,"timestamp":1767225600000,"guild_id":"`
	afterCommunity  = `","channel_id":"700000000000000002","user_id":"700000000000000003",` +
		`"data":{"interaction_id":"700000000000000010","interaction_type":"ApplicationCommand",` +
		`"interaction_token":"aW50ZXJh","command_name":"` + Command + `","subcommand":"weekly",` +
		`"options":{"page":2,"note":"`
	end = `"}}}`
)

// Message is message number n of a run for community i, as the gateway publishes it. Runs have different numbers so
// that no event ID comes twice.
func Message(run uint32, n, i int) []byte {
	event := EventID(run, n)
	b := make([]byte, 0, MessageSize)
	b = append(b, beforeEvent...)
	b = append(b, event...)
	b = append(b, beforeCommunity...)
	b = append(b, ID(i)...)
	b = append(b, afterCommunity...)
	b = append(b, padding[:MessageSize-len(b)-len(end)]...)
	return append(b, end...)
}

var padding = strings.Repeat("x", MessageSize)

// EventID is the ID of message n of a run: it looks like a UUID.
func EventID(run uint32, n int) string {
	return fmt.Sprintf("%08x-2fa1-41d2-883f-%012d", run, n)
}
