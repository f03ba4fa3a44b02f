package lanes

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/streams"
)

// Status is what is known of a community in a lane.
type Status struct {
	Key
	Lane   int
	Shared bool      // other communities may be in the same lane
	Opened time.Time // by Redis's clock; zero if only OVERFLOW knows of the lane
	Direct bool      // the ingress publishes straight into it

	Messages uint64        // in the lane, also those that handlers are working on
	Bytes    uint64        // of them, by the average of all lanes: JetStream does not tell it for one
	Oldest   time.Duration // how long the oldest has been in the lane, by JetStream's clock; 0 without messages
}

// oldestOf is how many communities Look asks OVERFLOW for the oldest message of.
const oldestOf = 20

// Look returns the status of a community in its lanes, or of every community in a lane if community is "", ordered by
// kind and community. Redis may be away: then those whose lanes are empty are not known. Oldest is known of the 20 with
// the most messages. Look changes nothing. ctx should have a deadline.
func Look(ctx context.Context, js jetstream.JetStream, rdb redis.UniversalClient, health *redishealth.Health, community string) ([]Status, error) {
	s := markers{rdb, health}
	marked, err := s.all(ctx)
	if err != nil && !errors.Is(err, redishealth.ErrAway) {
		return nil, err
	}
	found, err := lookAtOverflow(ctx, js)
	if err != nil && !missing(err) {
		return nil, err
	}
	all := make(map[Key]*Status, len(marked))
	for key, m := range marked {
		all[key] = &Status{Key: key, Lane: m.Lane, Opened: time.UnixMilli(m.Opened), Direct: m.Direct}
	}
	for key, w := range found.waiting {
		if all[key] == nil {
			all[key] = &Status{Key: key, Lane: w.lane}
		}
		all[key].Messages = w.messages
		all[key].Bytes = uint64(float64(w.messages) / float64(found.messages) * float64(found.bytes))
	}
	var list []Status
	for _, key := range slices.SortedFunc(maps.Keys(all), byKey) {
		if community != "" && key.Community != community {
			continue
		}
		all[key].Shared = all[key].Lane >= contract.FirstSharedLane
		list = append(list, *all[key])
	}
	return list, addOldest(ctx, js, list, found.ahead)
}

// addOldest adds how long the oldest message has waited, for the communities with the most messages. ahead is by
// how much the server's clock is ahead of this process's.
func addOldest(ctx context.Context, js jetstream.JetStream, list []Status, ahead time.Duration) error {
	var most []*Status
	for i := range list {
		if list[i].Messages > 0 {
			most = append(most, &list[i])
		}
	}
	slices.SortStableFunc(most, func(a, b *Status) int { return cmp.Compare(b.Messages, a.Messages) })
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for _, s := range most[:min(oldestOf, len(most))] {
		first, err := streams.Read(ctx, js, contract.StreamOverflow, 1, "overflow."+s.Kind.String()+"."+s.Community+".*")
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound): // handled meanwhile
		case err != nil:
			return err
		default:
			s.Oldest = max(0, time.Since(first.Time)+ahead)
		}
	}
	return nil
}
