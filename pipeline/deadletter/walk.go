package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// walk looks at messages of DEADLETTER one after the other. A consumer that lives as long as the walk delivers them,
// which takes a tenth of the time that one request for each takes.
//
// A consumer alone may miss some: it may be on a server that is behind the stream's leader, and a client that is slow
// drops what it cannot hold. So the walk asks the leader where the consumer's count has a gap, and for what comes after
// the last one.
type walk struct {
	store   *Store
	letters jetstream.Stream
	subject string // with wildcards
	next    uint64 // sequence of the next message to look at
	to      uint64 // sequence of the last one
	batch   int    // how many to ask for at once
	// visit looks at a message. The walk ends when it returns false.
	visit func(*jetstream.RawStreamMsg) bool
	ended bool
}

// run walks. ctx bounds the whole of it.
func (w *walk) run(ctx context.Context) error {
	if w.next == 0 || w.next > w.to { // 0 comes after the largest possible sequence
		return nil
	}
	if err := w.consume(ctx); err != nil {
		return err
	}
	return w.readUpTo(ctx, w.to)
}

func (w *walk) see(m *jetstream.RawStreamMsg) {
	w.next = m.Sequence + 1
	w.ended = !w.visit(m)
}

// readUpTo asks the leader of the stream for the messages up to a sequence, one by one.
func (w *walk) readUpTo(ctx context.Context, last uint64) error {
	for !w.ended && w.next <= last {
		m, err := w.store.message(ctx, w.letters, w.next, w.subject)
		if errors.Is(err, ErrNotFound) || err == nil && m.Sequence > last {
			return nil
		}
		if err != nil {
			return err
		}
		w.see(m)
	}
	return nil
}

// consume has the messages delivered by a consumer of its own, which JetStream keeps in memory.
func (w *walk) consume(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	consumer, err := w.letters.CreateConsumer(limited, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: w.next, FilterSubject: w.subject,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 2 * timeout,
	})
	if err != nil {
		return err
	}
	info := consumer.CachedInfo()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		_ = w.letters.DeleteConsumer(ctx, info.Name) // if this fails, it goes by itself
	}()
	nc := w.store.js.Conn()
	d := deliveries{inbox: nc.NewInbox() + ".", more: jetstream.DefaultAPIPrefix + "CONSUMER.MSG.NEXT." + info.Stream + "." + info.Name}
	if d.replies, err = nc.SubscribeSync(d.inbox + "*"); err != nil {
		return err
	}
	defer func() { _ = d.replies.Unsubscribe() }() // it fails only if the connection is closed
	for left := info.NumPending; left > 0 && !w.ended; {
		if left, err = w.pull(ctx, nc, &d); err != nil {
			return err
		}
	}
	return nil
}

// deliveries are what a consumer delivers.
type deliveries struct {
	replies *nats.Subscription
	inbox   string // prefix of the subjects of replies; each request has its own
	more    string // subject of requests for more
	pulls   int    // how many requests there were
	count   uint64 // how many messages the consumer has delivered, by its own count
}

// maxPull is how many bytes are asked for at once.
const maxPull = 8 << 20

// pull asks for a batch and looks at it. It returns how many are left, 0 if nothing more of the walk comes this way.
//
// The library's Fetch takes a message without a body and with the header Status for an answer of the server. Here a
// message is what has the reply subject of a delivery.
func (w *walk) pull(ctx context.Context, nc *nats.Conn, d *deliveries) (left uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := json.Marshal(map[string]any{"batch": w.batch, "max_bytes": maxPull, "no_wait": true})
	if err != nil {
		return 0, err
	}
	d.pulls++
	inbox := d.inbox + strconv.Itoa(d.pulls)
	if err := nc.PublishRequest(d.more, inbox, request); err != nil {
		return 0, err
	}
	for n := 0; n < w.batch; {
		m, err := d.replies.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrSlowConsumer) || errors.Is(err, nats.ErrNoResponders) {
			return 0, nil // some were dropped, or the consumer is gone: the leader has the rest
		}
		if err != nil {
			return 0, err
		}
		at, err := m.Metadata()
		if err != nil { // the server says why a batch ends, also the one before, after its last message
			if m.Subject != inbox {
				continue
			}
			return left, nil
		}
		n++
		seq := at.Sequence.Stream
		if seq > w.to {
			return 0, nil
		}
		if d.count++; d.count != at.Sequence.Consumer {
			d.count = at.Sequence.Consumer
			if err := w.readUpTo(ctx, seq-1); err != nil || w.ended {
				return 0, err
			}
		}
		w.see(&jetstream.RawStreamMsg{Subject: m.Subject, Sequence: seq, Header: m.Header, Data: m.Data, Time: at.Timestamp.In(time.UTC)})
		if left = at.NumPending; w.ended || left == 0 {
			return 0, nil
		}
	}
	return left, nil
}
