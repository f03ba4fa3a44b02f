package pipeline

// backlog is what the fair queue knows of a community that has messages in it: the deliveries that wait, in their order,
// and the account by which it has its turns. It is forgotten when no message of the community waits or runs, and with it
// all credit and debt.
type backlog struct {
	community   string
	first, last *delivery // those that wait, linked by delivery.next
	held        []held    // by source
	waiting     int       // how many wait
	account
	excused uint64 // the last delivery, by arrival, whose wait is the own doing of the community

	in    *line // turns or capped; nil if nothing waits
	index int   // in that line
	spare *backlog
}

// held is what the fair queue holds of a community from one source: messages that wait or run.
type held struct {
	source   *source
	messages int
	bytes    int64 // of their bodies
}

// push appends d to those that wait.
func (b *backlog) push(d *delivery) {
	d.backlog, d.next = b, nil
	if b.first == nil {
		b.first = d
	} else {
		b.last.next = d
	}
	b.last = d
	b.waiting++
	b.hold(d.source, 1, int64(len(d.Body)))
}

// pop takes the first that waits.
func (b *backlog) pop() *delivery {
	d := b.first
	b.first, d.next = d.next, nil
	b.waiting--
	if b.first == nil {
		b.last = nil
	}
	return d
}

// release forgets d, which neither waits nor runs any more.
func (b *backlog) release(d *delivery) {
	b.hold(d.source, -1, -int64(len(d.Body)))
	d.backlog = nil
}

// holds is how many messages are held from a source.
func (b *backlog) holds(s *source) int {
	for i := range b.held {
		if b.held[i].source == s {
			return b.held[i].messages
		}
	}
	return 0
}

// hold changes what is held from a source. There are few sources with messages of one community.
func (b *backlog) hold(s *source, messages int, bytes int64) {
	s.queued += messages
	for i := range b.held {
		h := &b.held[i]
		if h.source != s {
			continue
		}
		h.messages += messages
		h.bytes += bytes
		if last := len(b.held) - 1; h.messages == 0 {
			*h = b.held[last]
			b.held[last] = held{}
			b.held = b.held[:last]
		}
		return
	}
	b.held = append(b.held, held{source: s, messages: messages, bytes: bytes})
}
