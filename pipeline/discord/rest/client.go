package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/api"
)

const (
	callTimeout    = 10 * time.Second
	maxConnections = 128

	// firstAnswer is how long Discord takes a callback, after the interaction was created.
	firstAnswer = 3 * time.Second
	// settling is how long after an interaction its first answer may be on its way, so that Discord does not know of it
	// yet when an edit comes.
	settling      = 5 * time.Second
	settlingPause = time.Second // before the edit is tried again

	// maxAhead is how far ahead of this machine's clock an interaction may have been created. Of one that a gateway has
	// made up, Discord would be asked again and again, because it looks new for years.
	maxAhead = time.Minute
)

// Options configures a Client.
type Options struct {
	// BaseURL is where the API is. Defaults to [discord.DefaultAPIURL].
	BaseURL string
	// ApplicationID is that of answers that do not have one.
	ApplicationID string
	// Redis and Health are what processes share. Required.
	Redis  redis.UniversalClient
	Health *redishealth.Health
	// Logger logs when limits hold calls back. Defaults to none.
	Logger *slog.Logger
	// Registerer receives the metrics. Defaults to none.
	Registerer prometheus.Registerer
}

// Client sends answers.
type Client struct {
	application string
	api         *api.Client
	guards      *guards
	m           *metrics
}

// New returns a Client. It starts nothing and asks nobody. It fails on an unusable URL.
func New(o Options) (*Client, error) {
	if o.Redis == nil || o.Health == nil {
		return nil, errors.New("rest: Redis and Health are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	client, err := api.New(api.Options{
		BaseURL: cmp.Or(o.BaseURL, discord.DefaultAPIURL), Timeout: callTimeout, MaxConnections: maxConnections,
	})
	if err != nil {
		return nil, err
	}
	m := newMetrics(o.Registerer)
	g, err := newGuards(o, m)
	if err != nil {
		return nil, fmt.Errorf("guards of Discord's limits: %w", err)
	}
	return &Client{application: o.ApplicationID, api: client, guards: g, m: m}, nil
}

// Close closes the connections that no call uses.
func (c *Client) Close() { c.api.Close() }

// CountInline counts an answer that was sent inline, as the answer to Discord's request, and so by no call.
func (c *Client) CountInline() { c.m.count(inline, sent) }

// CountProgress is CountInline for progress.
func (c *Client) CountProgress() { c.m.count(inProgress, sent) }

// Send sends an answer, without its follow-ups. If it was sent, next is the answer that follows it, nil if none does. If
// next and err are nil, the answer has ended otherwise, too: its token has expired, or it was a refusal that would have
// had to wait. Errors:
//   - [*LaterError]: try again when the time has passed.
//   - [*RefusedError]: it will be refused again; do not try again.
//   - ctx's, and any other error: nobody knows whether the answer was sent. Try again after a while.
func (c *Client) Send(ctx context.Context, a *discord.Answer) (next *discord.Answer, err error) {
	way, r, err := c.send(ctx, a)
	c.m.count(string(way), r)
	if r == sent {
		return discord.Next(a), nil
	}
	return nil, err
}

// send sends an answer. It returns how, or how it was last tried.
func (c *Client) send(ctx context.Context, a *discord.Answer) (discord.Way, result, error) {
	way := a.Way
	if way != discord.Callback && way != discord.Edit && way != discord.FollowUp {
		return unknownWay, refused, &RefusedError{Reason: "the way of the answer is none"}
	}
	created, err := c.check(&a.Target)
	if err != nil {
		return way, refused, err
	}
	if way == discord.Callback {
		if time.Since(created) < firstAnswer {
			err := c.try(ctx, call{&a.Target, way, a.Response.Inline(), answers(way, a.Refusal)})
			if !isCode(err, api.CodeAlreadyAnswered) {
				r, err := judge(err, time.Since(created), a.Refusal)
				return way, r, err
			}
		}
		way = a.Response.LateWay(a.Type)
	}
	if time.Since(created) >= discord.Lifetime {
		return way, expired, nil
	}
	if a.Response.IsModal() {
		return way, refused, &RefusedError{Reason: "a modal can only be the first answer to an interaction"}
	}
	body := a.Response.Data
	if way == discord.Edit {
		body = a.Response.Message()
	}
	err = c.try(ctx, call{&a.Target, way, body, answers(way, a.Refusal)})
	r, err := judge(err, time.Since(created), a.Refusal)
	return way, r, err
}

// Progress shows a message in place of a deferral, at once or not at all. It is not sent where a limit says to wait, or
// would leave less room to others than answers do, and before Discord knows of the deferral. An error is ctx's, a
// [*RefusedError], or that of a call without an answer.
func (c *Client) Progress(ctx context.Context, t *discord.Target, message []byte) (shown bool, err error) {
	created, err := c.check(t)
	if err != nil {
		return false, err
	}
	if time.Since(created) >= discord.Lifetime {
		return false, nil
	}
	r, err := judge(c.try(ctx, call{t, discord.Edit, message, progress()}), time.Since(created), true)
	if r == later {
		r, err = dropped, nil // the next progress says more
	}
	c.m.count(inProgress, r)
	return r == sent, err
}

// check checks what a path is made of, and returns when the interaction was created.
func (c *Client) check(t *discord.Target) (created time.Time, err error) {
	created, ok := discord.Created(t.InteractionID)
	switch {
	case !ok:
		return created, &RefusedError{Reason: "the ID of the interaction is none"}
	case time.Until(created) > maxAhead:
		return created, &RefusedError{Reason: "the ID of the interaction is of the future, or this machine's clock is slow"}
	case t.Token == "" || t.Token == "." || t.Token == "..":
		return created, &RefusedError{Reason: "the token of the interaction is none"}
	case !discord.ValidID(cmp.Or(t.ApplicationID, c.application)):
		return created, &RefusedError{Reason: "the interaction has no application ID, and DISCORD_APPLICATION_ID is not set"}
	}
	return created, nil
}

// isCode reports whether the error is an answer of Discord with the code.
func isCode(err error, code int) bool {
	var refusal *api.Error
	return errors.As(err, &refusal) && refusal.Code == code
}
