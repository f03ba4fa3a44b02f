package chat

import (
	"context"
	"errors"
	"net/http"

	"golang.org/x/sync/errgroup"

	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/http/problem"
)

// deed is what a user does.
type deed struct {
	Place  string `json:"place"`
	User   string `json:"user"`
	Locale string `json:"locale"`
	Type   int    `json:"type"`  // of the interaction, as Discord numbers them: 2 to 5
	Times  int    `json:"times"` // how often; 0 is once

	Name     string               `json:"name"`    // of a command
	Options  []fakediscord.Option `json:"options"` // of a command
	CustomID string               `json:"custom_id"`
	Message  string               `json:"message"` // the one with the component
	Values   []string             `json:"values"`  // chosen in a menu
	Fields   []field              `json:"fields"`  // of a modal
}

type field struct {
	CustomID string `json:"custom_id"`
	Value    string `json:"value"`
}

// result is what the application answered at once.
type result struct {
	Type int    `json:"type,omitempty"` // 0: nothing, the answer comes by a call
	Data any    `json:"data,omitempty"`
	Rule string `json:"rule,omitempty"` // the rule of Discord that the application broke
}

func (c *chat) interactions(w http.ResponseWriter, r *http.Request) {
	var d deed
	fault := read(w, r, &d)
	if fault == nil {
		fault = d.check()
	}
	if fault != nil {
		deny(w, fault)
		return
	}
	p, fault := c.place(d.Place, d.User)
	if fault != nil {
		deny(w, fault)
		return
	}
	done, err := c.do(r.Context(), c.interaction(&d, p), max(1, d.Times))
	if err != nil {
		return // the client is gone
	}
	answer(w, done)
}

func (d *deed) check() *problem.Problem {
	switch {
	case d.Type < 2 || d.Type > 5:
		return problem.Malformed("type", "expected 2 to 5, a type of interactions")
	case d.Times < 0 || d.Times > maxTimes:
		return problem.Malformed("times", "expected 1 to %d", maxTimes)
	}
	return nil
}

func (c *chat) interaction(d *deed, p place) fakediscord.Interaction {
	i := fakediscord.Interaction{
		Type: d.Type, Name: d.Name, Options: d.Options, CustomID: d.CustomID, Message: d.Message, Values: d.Values,
		Guild: p.guild, Channel: p.channel, User: p.user, Others: c.o.Users, Locale: d.Locale,
	}
	for _, f := range d.Fields {
		i.Fields = append(i.Fields, fakediscord.Field(f))
	}
	return i
}

// do sends an interaction, or several of its kind, and returns what the last one got. The error is that of ctx.
func (c *chat) do(ctx context.Context, i fakediscord.Interaction, times int) (last result, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	results := make([]result, times)
	for n := range times {
		g.Go(func() error {
			sent, err := c.o.Discord.Send(ctx, c.o.Interactions, i)
			rule := new(fakediscord.RuleError)
			switch {
			case errors.As(err, &rule):
				results[n].Rule = rule.Rule
			case err != nil:
				return err
			case sent.Response.Type != 0:
				results[n].Type, results[n].Data = sent.Response.Type, sent.Response.Data
			}
			return nil
		})
	}
	err = g.Wait()
	return results[times-1], err
}
