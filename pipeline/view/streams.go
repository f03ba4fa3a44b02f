package view

import (
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
)

// Streams is the state of the streams, the consumers and the lanes at one moment.
type Streams struct {
	Streams []Stream `json:"streams"`
	Lanes   []Lane   `json:"lanes"`
}

// Stream is a stream of the contract.
type Stream struct {
	Stream   string `json:"stream"`
	Exists   bool   `json:"exists"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes *int64 `json:"max_bytes,omitempty"` // missing: no bound
	OldestMS int64  `json:"oldest_ms"`           // age of the oldest message
	Leader   string `json:"leader,omitempty"`
	// UnreadDropped is missing if Redis does not answer, and for a stream that workers do not read.
	UnreadDropped *uint64          `json:"unread_dropped,omitempty"`
	Consumers     []Consumer       `json:"consumers"`
	Differs       []streams.Change `json:"differs"` // from the settings
}

// Consumer is a consumer of a route.
type Consumer struct {
	Consumer    string `json:"consumer"`
	Fault       string `json:"fault,omitempty"` // why the numbers below are not known
	Pending     uint64 `json:"pending"`
	Unacked     int    `json:"unacknowledged"`
	Redelivered int    `json:"redelivered"`
	Leader      string `json:"leader,omitempty"`
}

// NewStreams makes the document of a status.
func NewStreams(all []streams.Status, inLanes []lanes.Status) Streams {
	document := Streams{Streams: []Stream{}, Lanes: NewLanes(inLanes)}
	for _, s := range all {
		v := Stream{
			Stream: s.Stream, Exists: s.Exists, Messages: s.Messages, Bytes: s.Bytes, OldestMS: s.Oldest.Milliseconds(),
			Leader: s.Leader, UnreadDropped: s.Dropped,
			Consumers: []Consumer{}, Differs: append([]streams.Change{}, s.Changes...),
		}
		if s.MaxBytes > 0 {
			v.MaxBytes = &s.MaxBytes
		}
		for _, c := range s.Consumers {
			v.Consumers = append(v.Consumers, Consumer(c))
		}
		document.Streams = append(document.Streams, v)
	}
	return document
}
