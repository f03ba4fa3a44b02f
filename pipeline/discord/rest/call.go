package rest

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/api"
)

// call is one call of the API.
type call struct {
	target *discord.Target
	way    discord.Way
	body   []byte
	need   permits
}

// try makes a call, if the guards let it, and tells them what they must know of the answer. Errors: [*LaterError] of the
// guards, and those of [api.Client.Do].
func (c *Client) try(ctx context.Context, l call) error {
	held, err := c.guards.take(ctx, l.target, l.need)
	switch {
	case err != nil:
		return err
	case held != nil:
		return held
	}
	began := time.Now()
	_, err = c.api.Do(ctx, c.request(l))
	c.m.seconds.WithLabelValues(string(l.way)).Observe(time.Since(began).Seconds())
	var refusal *api.Error
	if errors.As(err, &refusal) {
		c.guards.learn(ctx, l.target, refusal)
	}
	return err
}

// request makes the request of a call.
func (c *Client) request(l call) api.Call {
	token := url.PathEscape(l.target.Token)
	webhook := "/webhooks/" + cmp.Or(l.target.ApplicationID, c.application) + "/" + token
	r := api.Call{Method: http.MethodPost, Body: l.body, Secret: l.target.Token}
	switch l.way {
	case discord.Callback:
		r.Path = "/interactions/" + l.target.InteractionID + "/" + token + "/callback"
	case discord.Edit:
		r.Method, r.Path = http.MethodPatch, webhook+"/messages/@original"
	default:
		r.Path = webhook
	}
	return r
}

// result is how an answer ended.
type result string

// The results, as they are in metrics.
const (
	sent    result = "sent"
	expired result = "expired" // its token has, or there is nothing to edit
	dropped result = "dropped" // a refusal that would have had to wait
	refused result = "refused" // Discord will not take it
	failed  result = "error"   // no answer, or a fault of Discord; tried again
	later   result = "later"   // tried again
)

// judge says how an answer ends whose call had this error, when its interaction is as old as age. The error that it
// returns is for the caller of Send.
func judge(err error, age time.Duration, refusal bool) (result, error) {
	var held *LaterError
	var answer *api.Error
	switch {
	case err == nil:
		return sent, nil
	case errors.As(err, &held):
	case !errors.As(err, &answer):
		return failed, err
	case answer.Limited != nil:
		held = &LaterError{max(answer.Limited.After, time.Millisecond), "Discord limits calls of this " + scopes[answer.Limited.Scope]}
	case answer.Status >= 500 || answer.Status == http.StatusRequestTimeout:
		return failed, err
	case unknown(answer) && age < settling:
		return later, &LaterError{settlingPause, "Discord does not know the interaction's first answer yet"}
	case unknown(answer), answer.Code == api.CodeInvalidToken:
		return expired, nil
	default:
		return refused, &RefusedError{"Discord refuses the answer to an interaction", answer}
	}
	if refusal {
		return dropped, nil
	}
	return later, held
}

// scopes are the scopes of limits, in words.
var scopes = map[api.Scope]string{api.User: "interaction", api.Shared: "channel", api.Global: "address"}

// unknown reports whether Discord knows no interaction, no first answer, or no message of it.
func unknown(e *api.Error) bool {
	switch e.Code {
	case api.CodeUnknownInteraction, api.CodeUnknownWebhook, api.CodeUnknownMessage:
		return true
	}
	return false
}
