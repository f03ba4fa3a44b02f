package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/tracing"
	"arrakis/shard"
)

// decodeStage is the first stage. For each consumer it has a source and a decoder. The decoder makes deliveries of
// messages and sorts them by shard.
type decodeStage struct {
	// Set by New, read-only.
	ensure func(context.Context) error
	// commandTTL is the age past which a command is expired; 0: never.
	commandTTL time.Duration
	discord    bool // answers to interactions are sent to Discord
	intake     *intake
	tracer     *tracing.Tracer
	metrics    *metrics
	log        *slog.Logger

	admitted *fairQueue // not filled by this stage, which lets it catch up

	shards *shard.Pool[*delivery]    // out: decoded messages
	ended  *shard.Mailbox[*delivery] // out: messages that cannot be decoded

	added chan struct{} // size 1: run has a new source to begin

	mu      sync.Mutex // protects sources
	sources []*source  // a source is never removed; the slice is replaced when one is added
}

// add adds a source. Its messages are read once run has begun.
func (s *decodeStage) add(src *source) {
	s.mu.Lock()
	s.sources = append(slices.Clone(s.sources), src)
	s.mu.Unlock()
	select {
	case s.added <- struct{}{}:
	default:
	}
}

// all returns the sources added so far. The caller must not change the slice.
func (s *decodeStage) all() []*source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sources
}

// run pulls until intake ends, and returns when every pulled message has been decoded.
func (s *decodeStage) run(intake, work context.Context) error {
	g, intake := errgroup.WithContext(intake)
	g.Go(func() error {
		for begun := 0; ; {
			for _, src := range s.all()[begun:] {
				begun++
				g.Go(func() error { src.run(intake, work, s.intake, s.ensure); return nil })
				g.Go(func() error { return s.decode(work, src) })
			}
			select {
			case <-s.added:
			case <-intake.Done():
				return nil
			}
		}
	})
	return g.Wait()
}

// decode decodes the messages of a source. It returns when the source has ended and all its messages are decoded.
func (s *decodeStage) decode(work context.Context, src *source) error {
	sorter := s.shards.Sorter()
	var batch []arrival
	for {
		var ok bool
		if batch, ok = src.next(batch); !ok {
			return nil
		}
		s.admitted.catchUp(work, src)
		s.intake.enter(work, src, loadOf(batch))
		if err := s.decodeBatch(work, src, batch, sorter); err != nil {
			src.nakAll(batch)
			return err
		}
	}
}

// decodeBatch decodes a batch, so that each shard is woken once for all its messages.
func (s *decodeStage) decodeBatch(work context.Context, src *source, batch []arrival, sorter *shard.Sorter[*delivery]) error {
	began := time.Now()
	src.reconnects = src.connections()
	for i := range batch {
		if err := s.decodeOne(work, src, &batch[i], began, sorter); err != nil {
			return err
		}
	}
	s.metrics.decode.Observe(time.Since(began).Seconds())
	return sorter.Flush(work)
}

// decodeOne decodes a message that arrived at now and adds it to the sorter. A message that cannot be decoded goes to
// the metrics stage at once.
func (s *decodeStage) decodeOne(work context.Context, src *source, arrived *arrival, now time.Time, sorter *shard.Sorter[*delivery]) error {
	msg := arrived.Msg
	meta, err := metadataOf(msg)
	if err != nil {
		s.intake.leave(src, load{1, int64(arrived.size)})
		// A message without JetStream's reply subject cannot be acknowledged either.
		s.log.ErrorContext(work, "not a JetStream message", "stream", src.stream, "subject", msg.Subject(), "err", err)
		return nil
	}
	src.backlog = meta.pending
	if meta.delivered > 1 {
		src.redelivered.Add(1)
	}
	d := &delivery{source: src, msg: msg, size: arrived.size, position: meta.position, received: now, reconnects: src.reconnects}
	d.Body, d.headers, d.origin = msg.Data(), msg.Headers(), origin{stream: src.stream, sequence: meta.sequence, nanos: meta.stored}
	if src.route != nil {
		d.Kind, d.Subject = src.route.Kind, msg.Subject()
	} else if err := d.carried(msg.Subject(), now); err != nil {
		d.disposition = malformed(&contract.DecodeError{Reason: contract.ReasonMalformed, Detail: err.Error()})
		return s.ended.Put(work, d)
	}
	d.Attempt = d.failed + 1 // the handle stage counts
	d.Envelope, err = contract.Decode(d.Kind, d.Body)
	if s.tracer.Records(d.headers, d.EventID, now) {
		d.beginTrace(s.tracer, now)
	}
	if d.decided() { // to become a dead letter, when there was no room for it
		d.Attempt = d.failed
		return s.ended.Put(work, d)
	}
	if err != nil {
		var de *contract.DecodeError
		errors.As(err, &de) // Decode returns no other error
		d.disposition = malformed(de)
		return s.ended.Put(work, d)
	}
	d.discord = s.discord && isInteraction(d)
	if d.expired(s.commandTTL, now) {
		d.disposition = expired()
		d.unused = true // if a permit was taken, it was in front of a lane, where the message has waited
	}
	a, route := &d.admission, d.Kind.Route()
	a.TenantKey, a.User, a.Action, a.ID = d.TenantKey, d.UserID, route.Action, d.EventID
	a.Limited = route.Limited && !d.decided() // an expired message is not charged, but its tenant is looked up
	replayed := d.replay() != ""
	a.Repeated = d.comesAgain() || replayed
	if name := d.header(contract.HeaderDelayed); replayed && contract.ValidEventID(name) {
		a.Reservation = name // so that a replayed message finds the permit under which it was handled
	} else if a.Repeated && a.Limited {
		a.MayBeReserved = d.reservation()
	}
	if run := d.header(contract.HeaderRun); !a.Repeated && contract.ValidEventID(run) {
		a.Run = run
	}
	if since := d.header(contract.HeaderTenantSince); since != "" {
		if ms, err := strconv.ParseInt(since, 10, 64); err == nil && ms > 0 {
			sorter.AddSince(d, time.UnixMilli(ms))
			return nil
		}
	}
	sorter.Add(d)
	return nil
}

// shortestAckWait is the shortest ack wait of all consumers that exist, as far as is known.
func (s *decodeStage) shortestAckWait() time.Duration {
	all := s.all()
	shortest := time.Duration(all[0].ackWait.Load())
	for _, src := range all {
		shortest = min(shortest, time.Duration(src.ackWait.Load()))
	}
	return shortest
}
