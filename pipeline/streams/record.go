package streams

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/pipeline/contract"
)

//go:embed look.lua
var lookSource string

//go:embed save.lua
var saveSource string

var (
	lookScript = redis.NewScript(lookSource)
	saveScript = redis.NewScript(saveSource)
)

const (
	recordPrefix = "arrakis:stream:"

	fieldTally       = "tally"
	fieldRedelivered = "redelivered"
	fieldSwept       = "swept"
	fieldFloor       = "floor:" // followed by the consumer's name
)

// Records keeps in Redis what must survive the loss of a consumer: the ack floor of each consumer, and how many
// messages each stream has dropped unread. The record of a stream is a hash at arrakis:stream:<stream>. What Redis
// loses is written again within seconds; only a consumer that is lost at the same time begins at the stream's
// beginning.
//
// While Redis counts as away, Records does not ask it. Records is safe for concurrent use.
type Records struct {
	rdb    redis.UniversalClient
	health *redishealth.Health

	mu     sync.Mutex       // protects floors
	floors map[string]place // by stream and consumer: what this process knows without Redis
}

// place is where a consumer was in one stream. A stream that is deleted and made again begins at 1 again; the time at
// which it was created tells one from the other. Both times are by JetStream's clock.
type place struct {
	created time.Time // of the stream
	at      time.Time // of the look; zero if an earlier version has written it
	floor   uint64    // all messages up to this sequence are acknowledged
}

// knownFor is how long a process goes by a place that it has seen itself: two looks. Older ones are not used, because
// other processes may have looked since. A larger floor is not the better one: somebody may have set a consumer back.
const knownFor = 10 * time.Second

// ErrFloorUnknown means that a consumer is not made again yet: where it was is not known until Redis answers, and it is
// not guessed.
var ErrFloorUnknown = errors.New("where the consumer was is not known until Redis answers")

// NewRecords returns the Records in rdb, whose health is given. Redis may be away.
func NewRecords(rdb redis.UniversalClient, health *redishealth.Health) *Records {
	return &Records{rdb: rdb, health: health, floors: map[string]place{}}
}

func recordKey(stream string) string { return recordPrefix + stream }

// noteMade remembers a stream that this process has just created: nothing in it is acknowledged.
func (r *Records) noteMade(stream string, created time.Time) {
	for _, route := range contract.Routes() {
		if route.Stream == stream {
			r.note(stream, route.Consumer, place{created: created, at: created})
		}
	}
}

func (r *Records) note(stream, consumer string, p place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.floors[stream+"/"+consumer] = p
}

// known is what this process itself knows at a time of where a consumer was. ok is false if that is nothing, or too
// old.
func (r *Records) known(stream, consumer string, created, now time.Time) (p place, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p = r.floors[stream+"/"+consumer]
	if !p.created.Equal(created) || now.Sub(p.at).Abs() >= knownFor { // a clock may have been set back
		return place{}, false
	}
	return p, true
}

// floor returns the last known ack floor of a consumer that is gone, or 0 if it has none: it has never existed, or
// Redis has lost its data. created is when its stream was, and now the time by JetStream's clock. Errors:
// ErrFloorUnknown if Redis does not answer and this process does not know the floor either, and ctx's.
func (r *Records) floor(ctx context.Context, stream, consumer string, created, now time.Time) (uint64, error) {
	text, err := r.field(ctx, stream, fieldFloor+consumer)
	known, ok := r.known(stream, consumer, created, now)
	if err != nil && !ok {
		return 0, cmp.Or(ctx.Err(), fmt.Errorf("%w: %w", ErrFloorUnknown, err))
	}
	kept, okKept := parsePlace(text) // "" without Redis
	switch {
	case !okKept || !kept.created.Equal(created):
		return known.floor, nil
	case !ok || kept.at.After(known.at):
		return kept.floor, nil
	case kept.at.IsZero():
		return min(kept.floor, known.floor), nil // which one is later is not known: better twice than never
	default:
		return known.floor, nil
	}
}

// The form of a place in Redis: when the stream was created, in unix ns, when it was looked at, and the floor. Places
// of earlier versions lack the second.

func (p place) String() string {
	return fmt.Sprintf("%d %d %d", p.created.UnixNano(), p.at.UnixNano(), p.floor)
}

func parsePlace(text string) (p place, ok bool) {
	parts := strings.Split(text, " ")
	if len(parts) == 2 {
		parts = []string{parts[0], "", parts[1]}
	}
	if len(parts) != 3 {
		return place{}, false
	}
	created, errCreated := strconv.ParseInt(parts[0], 10, 64)
	floor, errFloor := strconv.ParseUint(parts[2], 10, 64)
	p = place{created: time.Unix(0, created), floor: floor}
	var errAt error
	if parts[1] != "" {
		var at int64
		at, errAt = strconv.ParseInt(parts[1], 10, 64)
		p.at = time.Unix(0, at)
	}
	return p, errors.Join(errCreated, errAt, errFloor) == nil
}

// turn is the right to look at a stream and to store what was found, and what the record held then.
type turn struct {
	version     string // of the record; "" if another process has begun to look a moment ago
	tally       string // JSON, or ""
	redelivered int64
	swept       int64
}

// look takes the turn, if it is free.
func (r *Records) look(ctx context.Context, stream string, every time.Duration) (turn, error) {
	key := recordKey(stream)
	var fields []string
	err := r.health.DoKey(ctx, key, func(ctx context.Context) (err error) {
		fields, err = lookScript.Run(ctx, r.rdb, []string{key}, every.Milliseconds()).StringSlice()
		return err
	})
	if err != nil || len(fields) != 4 {
		return turn{}, err
	}
	t := turn{version: fields[0], tally: fields[1]}
	t.redelivered, _ = strconv.ParseInt(fields[2], 10, 64) // 0 if it is missing
	t.swept, _ = strconv.ParseInt(fields[3], 10, 64)       // likewise
	return t, nil
}

// save stores fields of the record; the turn goes on. It returns false, and has stored nothing, if another look was
// stored since.
func (r *Records) save(ctx context.Context, stream string, t *turn, fields ...any) (bool, error) {
	if len(fields) == 0 {
		return false, nil
	}
	key := recordKey(stream)
	var version int64
	err := r.health.DoKey(ctx, key, func(ctx context.Context) (err error) {
		version, err = saveScript.Run(ctx, r.rdb, []string{key}, append([]any{t.version}, fields...)...).Int64()
		return err
	})
	if err != nil || version == 0 {
		return false, err
	}
	t.version = strconv.FormatInt(version, 10)
	return true, nil
}

// add adds n to a number of the record.
func (r *Records) add(ctx context.Context, stream, field string, n int64) error {
	key := recordKey(stream)
	return r.health.DoKey(ctx, key, func(ctx context.Context) error { return r.rdb.HIncrBy(ctx, key, field, n).Err() })
}

// field returns a field of the record, "" if it is missing.
func (r *Records) field(ctx context.Context, stream, name string) (text string, err error) {
	key := recordKey(stream)
	err = r.health.DoKey(ctx, key, func(ctx context.Context) (err error) {
		text, err = r.rdb.HGet(ctx, key, name).Result()
		return err
	})
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return text, err
}

// number returns a number of the record, 0 if it is missing.
func (r *Records) number(ctx context.Context, stream, field string) (int64, error) {
	text, err := r.field(ctx, stream, field)
	if err != nil || text == "" {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// Dropped returns how many messages the stream has dropped unread, as far as they are counted.
func (r *Records) Dropped(ctx context.Context, stream string) (uint64, error) {
	text, err := r.field(ctx, stream, fieldTally)
	if err != nil {
		return 0, err
	}
	t, err := parseTally(text)
	return t.Dropped, err
}
