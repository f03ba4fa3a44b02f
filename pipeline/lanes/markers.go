package lanes

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/pipeline/contract"
)

//go:embed open.lua
var openSource string

//go:embed close.lua
var closeSource string

var (
	openScript  = redis.NewScript(openSource)
	closeScript = redis.NewScript(closeSource)
)

const (
	markersKey = "arrakis:lanes"
	// maxMarkers bounds the communities in lanes over all processes.
	maxMarkers = 1_000
	anyLane    = -1
)

var (
	errTooMany    = errors.New("too many communities are in lanes")
	errUnreadable = errors.New("the marker cannot be read")
)

// marker is what Redis says of a community in a lane.
type marker struct {
	Lane   int    `json:"lane"`
	Epoch  string `json:"epoch"`
	Opened int64  `json:"opened"` // by Redis's clock, unix ms
	Direct bool   `json:"direct"`

	made bool // by the call that has returned it
}

func parseMarker(text string) (m marker, ok bool) {
	err := json.Unmarshal([]byte(text), &m)
	return m, err == nil && m.Epoch != "" && m.Lane >= 0 && m.Lane < contract.NumLanes
}

// markers keeps the markers in Redis. An error of its methods is [redishealth.ErrAway] if Redis does not answer.
type markers struct {
	rdb    redis.UniversalClient
	health *redishealth.Health
}

// all returns all markers. It leaves out those that cannot be read.
func (s *markers) all(ctx context.Context) (map[Key]marker, error) {
	var fields map[string]string
	err := s.health.DoKey(ctx, markersKey, func(ctx context.Context) (err error) {
		fields, err = s.rdb.HGetAll(ctx, markersKey).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the markers of lanes: %w", err)
	}
	all := make(map[Key]marker, len(fields))
	for field, text := range fields {
		if len(all) == maxMarkers {
			break
		}
		key, ok := parseField(field)
		if m, readable := parseMarker(text); ok && readable {
			all[key] = m
		}
	}
	return all, nil
}

// open opens a lane for the key, or finds its marker, and sets whether it is direct; nil leaves that as it is. lane is the
// number of one that holds messages of the key, or anyLane. The error is errTooMany if there is no room for a further
// marker.
func (s *markers) open(ctx context.Context, key Key, lane int, direct *bool) (marker, error) {
	as := -1
	if direct != nil {
		as = map[bool]int{false: 0, true: 1}[*direct]
	}
	var reply []string
	err := s.health.DoKey(ctx, markersKey, func(ctx context.Context) (err error) {
		reply, err = openScript.Run(ctx, s.rdb, []string{markersKey},
			key.field(), maxMarkers, contract.FirstSharedLane, key.shared(), lane, as).StringSlice()
		return err
	})
	switch {
	case errors.Is(err, redis.Nil):
		return marker{}, errTooMany
	case err != nil:
		return marker{}, fmt.Errorf("open a lane: %w", err)
	}
	if len(reply) != 2 {
		return marker{}, fmt.Errorf("open a lane: %w: %d values instead of 2", errUnreadable, len(reply))
	}
	m, ok := parseMarker(reply[0])
	if !ok {
		return marker{}, fmt.Errorf("open a lane: %w: %q", errUnreadable, contract.Clip(reply[0], 100))
	}
	m.made = reply[1] == "1"
	return m, nil
}

// close closes the lane of an epoch, if it is the key's.
func (s *markers) close(ctx context.Context, key Key, epoch string) error {
	err := s.health.DoKey(ctx, markersKey, func(ctx context.Context) error {
		return closeScript.Run(ctx, s.rdb, []string{markersKey}, key.field(), epoch).Err()
	})
	if err != nil {
		return fmt.Errorf("close a lane: %w", err)
	}
	return nil
}
