package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
)

// ErrNoInteraction means that nobody can be shown the progress of a message, or a follow-up to it: it is no interaction
// of Discord that arrakis answers.
var ErrNoInteraction = errors.New("the message is no interaction that arrakis answers")

// What is told to handlers.
var (
	errTooManyFollowUps = fmt.Errorf("an answer has %d follow-ups at most", discord.MaxFollowUps)
	errHandlerEnded     = errors.New("the handler has ended")
)

// progressPause is the least time between two things that an interaction shows before its answer. Discord takes five
// requests in two seconds for an interaction; the answer must have room.
const progressPause = time.Second

// Progress shows a result in place of the answer, until the answer comes: what has been done so far. It is for people who
// wait, so it is shown once: while one is on its way, the next replaces the one that waits, and what Discord does not take
// now is not shown. An error is [ErrNoInteraction], or says why the result cannot be sent.
func (m *Message) Progress(result any) error {
	if m.progress == nil {
		return ErrNoInteraction
	}
	text, err := encodeResult(result)
	if err != nil {
		return err
	}
	m.progress.show(text)
	return nil
}

// FollowUp adds a message that is sent after the answer, if the handler succeeds. There may be [discord.MaxFollowUps], and
// together they may have half the size that NATS allows for a message, because they are stored with the answer: they are
// sent also if this process dies. An error is [ErrNoInteraction], or says why the result cannot be sent.
func (m *Message) FollowUp(result any) error {
	if m.progress == nil {
		return ErrNoInteraction
	}
	text, err := encodeResult(result)
	if err != nil {
		return err
	}
	return m.progress.follow(text)
}

// progress is what an interaction shows before its answer, and what is to follow it. Its methods are safe for concurrent
// use.
type progress struct {
	x       *interactions
	target  discord.Target
	replyTo string
	token   string // of the subject of a micro service, "" for a Go function
	begun   bool   // something was shown, or might have been; owned by the goroutine that shows

	mu        sync.Mutex        // protects the fields below
	waiting   *discord.Response // to be shown next
	sender    chan struct{}     // closed when the goroutine that shows ends; nil: there is none
	closed    chan struct{}     // closed by close: nothing more is shown
	answered  bool              // the interaction is answered already, by progress or by a deferral
	followUps []json.RawMessage
}

// begin makes the progress of d, whose handler is about to run.
func (x *interactions) begin(d *delivery) {
	if t, ok := x.target(d); ok {
		d.progress = &progress{x: x, target: t, replyTo: d.replyTo(), closed: make(chan struct{})}
	}
}

func (p *progress) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// show shows a result as soon as the one before it was.
func (p *progress) show(result json.RawMessage) {
	response := discord.Format(p.target.Type, result)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() || response.Type == discord.ResponseModal {
		return
	}
	p.waiting = &response
	if p.sender == nil {
		p.sender = make(chan struct{})
		go p.send(p.sender) // ended by close, which waits for it
	}
}

// send shows what waits until nothing does.
func (p *progress) send(ended chan struct{}) {
	defer close(ended)
	for {
		p.mu.Lock()
		next := p.waiting
		p.waiting = nil
		if next == nil || p.isClosed() {
			p.sender = nil
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		p.showNow(next)
		select {
		case <-time.After(progressPause):
		case <-p.closed:
		}
	}
}

// showNow shows a response: the first one to the request that waits, if there is such a request, and all others by REST.
func (p *progress) showNow(r *discord.Response) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*offerTime)
	defer cancel()
	first := !p.begun
	p.begun = true
	if first && p.replyTo != "" {
		reply, err := p.x.nc.RequestWithContext(ctx, p.replyTo, r.Inline())
		switch {
		case err == nil && string(reply.Data) == contract.TakenInline:
			p.x.client.CountProgress()
			p.setAnswered()
			return
		case err == nil && string(reply.Data) == contract.TakenLate:
			p.setAnswered()
			first = false
		}
	}
	if !first && r.LateWay(p.target.Type) == discord.FollowUp {
		return // the answer would not replace it
	}
	var err error
	if first {
		// Whether it was taken is for the answer to find out: it is a callback too, which becomes an edit if it must.
		_, err = p.x.client.Send(ctx, &discord.Answer{Target: p.target, Way: discord.Callback, Response: *r, Refusal: true})
	} else {
		_, err = p.x.client.Progress(ctx, &p.target, r.Message())
	}
	if err != nil {
		p.x.log.DebugContext(ctx, "progress is not shown", "interaction_id", p.target.InteractionID, "err", err)
	}
}

func (p *progress) setAnswered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered = true
}

// follow adds a follow-up.
func (p *progress) follow(result json.RawMessage) error {
	response := discord.Format(p.target.Type, result)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.isClosed():
		return errHandlerEnded
	case len(p.followUps) == discord.MaxFollowUps:
		return errTooManyFollowUps
	}
	size, most := len(response.Data), p.x.nc.MaxPayload()/2
	for _, before := range p.followUps {
		size += len(before)
	}
	if int64(size) > most {
		return fmt.Errorf("the follow-ups of an answer have %d bytes together, and may have %d", size, most)
	}
	p.followUps = append(p.followUps, response.Data)
	return nil
}

// close says that the handler has ended. It returns when nothing more is shown, so that the answer comes last. A nil
// progress may be closed.
func (p *progress) close() {
	if p == nil {
		return
	}
	p.x.progress.remove(p)
	p.mu.Lock()
	if !p.isClosed() {
		close(p.closed)
	}
	sender := p.sender
	p.mu.Unlock()
	if sender != nil {
		<-sender
	}
}

// progressInbox receives what micro services show before their answers. It is safe for concurrent use.
type progressInbox struct {
	prefix string
	sub    *nats.Subscription

	mu      sync.Mutex // protects running
	running map[string]*progress
}

func subscribeProgress(nc *nats.Conn) (*progressInbox, error) {
	in := &progressInbox{prefix: nc.NewInbox() + ".", running: make(map[string]*progress)}
	var err error
	if in.sub, err = nc.Subscribe(in.prefix+"*", in.receive); err != nil {
		return nil, fmt.Errorf("subscribe to the progress of handlers: %w", err)
	}
	return in, nil
}

func (in *progressInbox) unsubscribe() { _ = in.sub.Unsubscribe() } // an error means that the connection is closed

// add returns the subject at which the micro service for p is heard.
func (in *progressInbox) add(p *progress) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	if p.token == "" {
		p.token = nuid.Next()
		in.running[p.token] = p
	}
	return in.prefix + p.token
}

func (in *progressInbox) remove(p *progress) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.running, p.token)
}

// receive takes what a micro service shows. A service that asks, rather than publishes, is told whether it was taken: what
// it asked for before its answer is not late.
func (in *progressInbox) receive(m *nats.Msg) {
	in.mu.Lock()
	p := in.running[m.Subject[len(in.prefix):]]
	in.mu.Unlock()
	err := take(p, m)
	if m.Reply == "" {
		return
	}
	reply := nats.NewMsg(m.Reply)
	if err != nil {
		reply.Header.Set(contract.HeaderServiceError, err.Error())
		reply.Header.Set(contract.HeaderServiceErrorCode, strconv.Itoa(http.StatusBadRequest))
	}
	_ = m.RespondMsg(reply) // who asks hears nothing, and asks again or not
}

// take shows or adds what a micro service has sent.
func take(p *progress, m *nats.Msg) error {
	if p == nil {
		return errHandlerEnded
	}
	result, err := replyResult(m.Data)
	if err != nil {
		return err
	}
	if m.Header.Get(contract.HeaderFollowUp) != "" {
		return p.follow(result)
	}
	p.show(result)
	return nil
}
