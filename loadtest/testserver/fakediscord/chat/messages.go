package chat

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/problem"
)

// message is a message as the page gets it.
type message struct {
	ID         string            `json:"id"`
	User       string            `json:"user"` // ID of who did what it answers
	Did        string            `json:"did,omitempty"`
	Content    string            `json:"content,omitempty"`
	Embeds     []json.RawMessage `json:"embeds,omitempty"`
	Components []json.RawMessage `json:"components,omitempty"`
	Ephemeral  bool              `json:"ephemeral,omitempty"`
	Thinking   bool              `json:"thinking,omitempty"`
	Edited     bool              `json:"edited,omitempty"`
	Failed     string            `json:"failed,omitempty"`
	At         int64             `json:"at"` // unix ms
}

// messages streams what a user sees in a place.
func (c *chat) messages(w http.ResponseWriter, r *http.Request) {
	p, fault := c.place(r.URL.Query().Get("place"), r.URL.Query().Get("user"))
	if fault != nil {
		deny(w, fault)
		return
	}
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		deny(w, problem.New(http.StatusServiceUnavailable, "busy", "%d chats are open, which is all that there may be. Close one.", maxStreams).RetryAfter(5*time.Second))
		return
	}
	changed, end := c.o.Discord.Changes()
	defer end()
	live.Serve(w, r, func(ctx context.Context, w *live.Writer) error {
		for {
			text, err := json.Marshal(map[string]any{"messages": c.seen(p), "bought": c.has(p)})
			if err != nil {
				return err
			}
			if err := w.Event("messages", text); err != nil {
				return err
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			case <-c.o.Done:
				return nil
			}
		}
	})
}

// seen are the newest messages that a user sees in a place.
func (c *chat) seen(p place) []message {
	seen := []message{}
	for _, m := range c.o.Discord.Messages(p.channel) {
		if !m.Ephemeral || m.User == p.user.ID {
			seen = append(seen, newMessage(&m))
		}
	}
	return seen[max(0, len(seen)-maxMessages):]
}

func newMessage(m *fakediscord.Message) message {
	return message{
		ID: m.ID, User: m.User, Did: m.Did, Content: m.Content, Embeds: m.Embeds, Components: m.Components,
		Ephemeral: m.Ephemeral, Thinking: m.Thinking, Edited: !m.Edited.IsZero(), Failed: m.Failed, At: m.At.UnixMilli(),
	}
}
