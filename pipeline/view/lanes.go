package view

import (
	"time"

	"arrakis/pipeline/lanes"
	"arrakis/shard"
)

// Lane is a community whose messages of one kind wait in a lane, because it was over its due.
type Lane struct {
	Kind      string     `json:"kind"`
	Community string     `json:"community_id"`
	Lane      int        `json:"lane"`            // number of the lane
	Shared    bool       `json:"shared"`          // other communities may be in the same lane
	Opened    *time.Time `json:"opened,omitzero"` // missing if Redis does not know the lane
	Direct    bool       `json:"direct"`          // the ingress publishes straight into the lane
	Messages  uint64     `json:"messages"`        // also those that handlers are working on
	Bytes     uint64     `json:"bytes"`           // about
	OldestMS  int64      `json:"oldest_ms"`       // how long the oldest has been in the lane; of the fullest 20 lanes
}

// NewLanes makes the list of lanes. It is never nil.
func NewLanes(all []lanes.Status) []Lane {
	list := []Lane{}
	for i := range all {
		s := &all[i]
		l := Lane{
			Kind: s.Kind.String(), Community: s.Community, Lane: s.Lane, Shared: s.Shared, Direct: s.Direct,
			Messages: s.Messages, Bytes: s.Bytes, OldestMS: s.Oldest.Milliseconds(),
		}
		if !s.Opened.IsZero() {
			opened := s.Opened.UTC()
			l.Opened = &opened
		}
		list = append(list, l)
	}
	return list
}

// Usage says how much of its limits a community has used, and what waits in its lanes.
type Usage struct {
	shard.Usage
	Lanes *[]Lane `json:"lanes,omitzero"` // missing if NATS does not answer; empty if the community is in none
}
