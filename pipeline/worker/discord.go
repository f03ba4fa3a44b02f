package worker

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"arrakis/pipeline"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/premium"
	"arrakis/pipeline/discord/rest"
	discordhttp "arrakis/pipeline/http/discord"
)

// DiscordOptions say what a worker does for Discord: nothing, if neither PublicKeys nor ApplicationID is set.
type DiscordOptions struct {
	// PublicKeys are the application's public keys, 64 hexadecimal digits each. Interactions and events that are signed
	// with one of them are taken on HTTP. There may be 8, so that one can be rotated. Defaults to none: HTTP does not
	// serve Discord.
	PublicKeys []string
	// ApplicationID is the application whose interactions are answered, for those that do not name it. Answers are sent
	// where this or PublicKeys is set. Defaults to "": the one that the interaction names.
	ApplicationID string
	// APIURL is the base URL of Discord's REST API, or of a proxy before it. Defaults to [discord.DefaultAPIURL].
	APIURL string
	// AnswerTime is how long the answer to an interaction is waited for before Discord is told that it follows. Discord gives
	// 3 s for everything, with the way there and back. Defaults to 2 s.
	AnswerTime time.Duration
	// Ephemeral are the commands of which only their user sees the answer if it comes late: Discord must be told so before
	// the answer is known. Names are as handlers have them. Defaults to none.
	Ephemeral []string
}

// faults are all that is wrong with the options.
func (o *DiscordOptions) faults() []error {
	var errs []error
	if len(o.PublicKeys) > 0 {
		if _, err := discord.ParseKeys(o.PublicKeys...); err != nil {
			errs = append(errs, fmt.Errorf("worker: Discord.PublicKeys: %w", err))
		}
	}
	if o.ApplicationID != "" && !discord.ValidID(o.ApplicationID) {
		errs = append(errs, errors.New("worker: Discord.ApplicationID is not an ID, which has up to 20 digits"))
	}
	if err := discord.CheckAPIURL(o.APIURL); err != nil {
		errs = append(errs, fmt.Errorf("worker: Discord.APIURL: %w", err))
	}
	if o.AnswerTime < 0 {
		errs = append(errs, fmt.Errorf("worker: Discord.AnswerTime is %v, want more than 0, or 0 for the default", o.AnswerTime))
	}
	for _, name := range o.Ephemeral {
		if !contract.ValidCommand(name) {
			errs = append(errs, fmt.Errorf("worker: Discord.Ephemeral has %q, want [a-z0-9_-]{1,32}", contract.Clip(name, 64)))
		}
	}
	return errs
}

// enabled reports whether answers are sent to Discord.
func (o *DiscordOptions) enabled() bool { return len(o.PublicKeys) > 0 || o.ApplicationID != "" }

// newAnswers makes what sends answers to Discord, or nil if none are sent.
func (w *Worker) newAnswers() (*pipeline.DiscordOptions, error) {
	o := &w.o.Discord
	if !o.enabled() {
		return nil, nil
	}
	client, err := rest.New(rest.Options{
		BaseURL: o.APIURL, ApplicationID: o.ApplicationID, Redis: w.o.Redis, Health: w.limiter.Health(),
		Logger: w.o.Logger, Registerer: w.o.Registry,
	})
	if err != nil {
		return nil, fmt.Errorf("answers to Discord: %w", err)
	}
	return &pipeline.DiscordOptions{ApplicationID: o.ApplicationID, Client: client}, nil
}

// addDiscord serves Discord's requests on mux, which is that of the ingress.
func (w *Worker) addDiscord(mux *http.ServeMux) error {
	keys, err := discord.ParseKeys(w.o.Discord.PublicKeys...)
	if err != nil {
		return err
	}
	bought := premium.New(w.tenants, w.limiter.Health())
	h, err := discordhttp.New(discordhttp.Options{
		Keys: keys, Ingress: w.ingress, NATS: w.o.NATS, Ephemeral: w.o.Discord.Ephemeral, AnswerTime: w.o.Discord.AnswerTime,
		Entitled: bought.Interaction, Entitlements: bought.Event,
		Logger: w.o.Logger, Registerer: w.o.Registry,
	})
	if err != nil {
		return err
	}
	h.Mount(mux)
	return nil
}
