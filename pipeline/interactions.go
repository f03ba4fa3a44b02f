package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/rest"
	"arrakis/pipeline/replies"
	"arrakis/shard"
)

const (
	// answersInFlight is how many answers are offered to requests, and how many are stored, at the same time.
	answersInFlight = 1_024
	// offerTime is how long a request has to say what became of its answer.
	offerTime = time.Second
	// failuresLogged is how many interactions that failed are logged a second.
	failuresLogged = 20
)

// interactions sends the answers to interactions of Discord. An answer is offered to the HTTP request that the interaction
// came with. If that does not take it, or there is none, it is stored in ANSWERS, from where any process sends it; see
// sendAnswer. Only then is the interaction acknowledged. So an answer is lost with no process.
type interactions struct {
	// Set by newInteractions, read-only.
	nc            *nats.Conn
	js            jetstream.JetStream
	log           *slog.Logger
	applicationID string // of interactions that do not say theirs
	client        *rest.Client
	sending       chan struct{} // holds one for each call of Discord; half of the workers at most wait for one
	failures      *rate.Limiter // of what is logged of interactions that failed: users have their request IDs

	// Set by subscribe.
	offers, stores *replies.Mux
	progress       *progressInbox

	// Both are bounded by the intake, which an interaction leaves when its answer is stored.
	toOffer, toStore *shard.Mailbox[*outgoing]
	open             sync.WaitGroup // answers that are not done

	patient chan struct{}  // holds one for each answer that waits for ANSWERS longer than others; see goesOn
	trouble rate.Sometimes // what is logged of them

	discordAway rate.Sometimes // what is logged of answers that Discord does not take for a fault of its own
}

// newInteractions starts nothing. workers is how many handlers run at once.
func newInteractions(nc *nats.Conn, js jetstream.JetStream, o *DiscordOptions, workers int, log *slog.Logger) *interactions {
	return &interactions{
		nc: nc, js: js, log: log, applicationID: o.ApplicationID, client: o.Client,
		sending: make(chan struct{}, max(1, workers/2)), failures: rate.NewLimiter(failuresLogged, 5*failuresLogged),
		toOffer: shard.NewMailbox[*outgoing](math.MaxInt), toStore: shard.NewMailbox[*outgoing](math.MaxInt),
		patient: make(chan struct{}, patientAnswers), trouble: rate.Sometimes{Interval: time.Minute},
		discordAway: rate.Sometimes{Interval: time.Minute},
	}
}

// outgoing is an answer on its way to a request or to ANSWERS.
type outgoing struct {
	answer    discord.Answer
	sorry     func() discord.Response // in place of a response that cannot be sent
	replyTo   string                  // of the request that may take it; "" if there is none
	tenantKey string
	eventID   string
	done      func(error) // called once, with nil if the answer was taken or stored

	// How storing it goes.
	until      time.Time    // its token lasts no longer
	tries      int          // that have failed
	large      bool         // NATS does not carry it, so that sorry has taken its place
	patient    bool         // it has a place in interactions.patient
	inProgress func() error // tells JetStream that the interaction is not done
}

// isInteraction reports whether arrakis sends the answer of d to Discord: it came over HTTP as an interaction, or from a
// gateway that does not wait for the outcome. A sender that waits for the outcome answers by itself.
func isInteraction(d *delivery) bool {
	if d.Kind != contract.KindCommand {
		return false
	}
	if d.header(contract.HeaderAnswer) == contract.AnswerDiscord {
		return true
	}
	return d.replyTo() == "" && bytes.Contains(d.Data, []byte(`"interaction_token"`))
}

// run sends answers until close is called and every answer is done. After an abort, when work has ended, those that are
// not are done with an error.
func (x *interactions) run(work context.Context) error {
	beside, stop := context.WithCancel(context.WithoutCancel(work))
	var muxes sync.WaitGroup
	muxes.Go(func() { x.offers.Run(beside) })
	muxes.Go(func() { x.stores.Run(beside) })
	defer func() {
		stop()
		muxes.Wait()
		x.progress.unsubscribe()
	}()
	var g errgroup.Group
	g.Go(func() error { each(x.toOffer, func(o *outgoing) { x.offer(work, o) }); return nil })
	g.Go(func() error { each(x.toStore, func(o *outgoing) { x.store(work, o) }); return nil })
	return g.Wait()
}

// close says that no further answer comes. It returns when all are done.
func (x *interactions) close() {
	x.toOffer.Close()
	x.open.Wait()
	x.toStore.Close()
}

// each calls f with everything that is put into a mailbox, until it is closed and empty.
func each[T any](mailbox *shard.Mailbox[T], f func(T)) {
	var batch []T
	for {
		var ok bool
		if batch, ok = mailbox.Take(batch); !ok {
			return
		}
		for _, item := range batch {
			f(item)
		}
	}
}

// subscribe makes the interactions ready for run and for handlers. The caller must call run.
func (x *interactions) subscribe() (err error) {
	bounds := replies.Bounds{InFlight: answersInFlight}
	if x.offers, err = replies.New(x.nc, bounds); err != nil {
		return err
	}
	if x.stores, err = replies.New(x.nc, bounds); err != nil {
		return err
	}
	x.progress, err = subscribeProgress(x.nc)
	return err
}

// put sends the answer of d, which has ended. done is called once, by another goroutine: with nil if the answer was taken
// or stored, or if it is of no use any more.
func (x *interactions) put(d *delivery, done func(error)) {
	target, ok := x.target(d)
	if !ok { // the token was taken out, as in a dead letter; or a gateway has sent nonsense
		x.log.Debug("an interaction is not answered: it has no token, or no ID that could be Discord's", "event_id", d.EventID)
		done(nil)
		return
	}
	if d.status == contract.StatusError && !d.refused && x.failures.Allow() {
		x.log.Warn("an interaction is answered with an error", "request_id", d.requestID(), "event_id", d.EventID,
			"community_id", d.community(), "command", d.Command, "trace_id", d.traceID(), "err", contract.Clip(d.cause, deadletter.MaxCause))
	}
	words := discord.Words{Type: target.Type, Locale: target.Locale, Texts: d.Tenant.Texts}
	response, refusal := responseTo(d, &words)
	requestID := strings.Clone(d.requestID())
	out := &outgoing{
		answer:  discord.Answer{Target: target, Way: discord.Callback, Response: response, Refusal: refusal},
		sorry:   func() discord.Response { return words.Say(discord.KeyError, discord.Values{RequestID: requestID}) },
		replyTo: d.replyTo(), tenantKey: strings.Clone(d.TenantKey), eventID: strings.Clone(d.EventID), done: done,
		until: lastsUntil(&target, time.Now()), inProgress: d.msg.InProgress,
	}
	if p := d.progress; p != nil {
		if d.status == contract.StatusOK {
			out.answer.FollowUps = p.followUps
		}
		if p.answered {
			out.late()
		}
	}
	x.open.Add(1)
	_, _ = x.toOffer.Offer(out) // there is always room, and it is closed after the last one
}

// responseTo is what Discord is told of d, which has ended.
func responseTo(d *delivery, words *discord.Words) (r discord.Response, refusal bool) {
	if d.errorType == errorNoHandler { // to a sender of outcomes this is an error like others
		return words.Say(discord.KeyNoHandler, discord.Values{}), false
	}
	outcome := d.outcome()
	return words.Outcome(&outcome, d.requestID(), time.Now())
}

// target is where the answer of d goes. Its texts are copies, because d's memory is that of a message.
func (x *interactions) target(d *delivery) (discord.Target, bool) {
	if d.progress != nil {
		return d.progress.target, true
	}
	t, ok := discord.TargetOf(d.Data)
	if t.ApplicationID == "" {
		t.ApplicationID = x.applicationID
	}
	if ok && t.Channel == "" { // a gateway names the channel in the envelope
		var e struct {
			ChannelID string `json:"channel_id"`
		}
		if err := json.Unmarshal(d.Body, &e); err == nil && discord.ValidID(e.ChannelID) {
			t.Channel = e.ChannelID
		}
	}
	return t, ok && t.ApplicationID != ""
}

// end says that an answer is done.
func (x *interactions) end(o *outgoing, err error) {
	if o.patient {
		<-x.patient // does not block: the answer has put one in
	}
	o.done(err)
	x.open.Done()
}

// offer offers an answer to its request.
func (x *interactions) offer(work context.Context, o *outgoing) {
	if o.replyTo == "" {
		_, _ = x.toStore.Offer(o)
		return
	}
	m := &nats.Msg{Subject: o.replyTo, Data: o.answer.Response.Inline()}
	err := x.offers.Send(work, m, time.Now().Add(offerTime), func(reply *nats.Msg, err error) { x.offered(o, reply, err) })
	if err != nil {
		x.offered(o, nil, err)
	}
}

// offered does what follows from what a request says of its answer. It must not block.
func (x *interactions) offered(o *outgoing, reply *nats.Msg, err error) {
	taken := contract.TakenNot
	if err == nil {
		taken = string(reply.Data)
	}
	switch {
	case taken == contract.TakenInline && len(o.answer.FollowUps) == 0:
		x.client.CountInline()
		x.end(o, nil)
		return
	case taken == contract.TakenInline:
		x.client.CountInline()
		o.answer = *discord.Next(&o.answer)
	case taken == contract.TakenLate:
		o.late()
	}
	_, _ = x.toStore.Offer(o)
}

// late says that the interaction is answered already, by a deferral or by progress.
func (o *outgoing) late() {
	if o.answer.Response.IsModal() {
		o.answer.Response = o.sorry()
	}
	o.answer.Way = o.answer.Response.LateWay(o.answer.Type)
	o.answer.Refusal = false // somebody has been told to wait for it
}
