package main

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/nats-io/nats.go"

	"arrakis/loadtest/testserver/fakediscord"
	"arrakis/loadtest/testserver/fakediscord/chat"
	"arrakis/pipeline/discord/appcommands"
	"arrakis/pipeline/discord/botapi"
	"arrakis/pipeline/worker"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

// The paths of the ingress that Discord asks.
const (
	interactionsPath = "/discord/interactions"
	eventsPath       = "/discord/events"
)

// demoGuild is a guild of `arrakis dev --discord`.
type demoGuild struct {
	chat.Guild
	tier tenant.Tier // "" is no config: free, or what was bought
}

// demoGuilds are the guilds of the chat. Discord's IDs are numbers, so the demo communities cannot be guilds.
var demoGuilds = []demoGuild{
	{chat.Guild{ID: "1100000000000000001", Name: "Arrakeen", Note: "free: 10 commands a minute"}, ""},
	{chat.Guild{ID: "1100000000000000002", Name: "Carthag", Note: "free"}, ""},
	{chat.Guild{ID: "1100000000000000003", Name: "Sietch Tabr", Note: "pro: 100 a minute"}, tenant.Pro},
	{chat.Guild{ID: "1100000000000000004", Name: "Heighliner", Note: "enterprise: no limit"}, tenant.Enterprise},
}

// demoUsers are whom one can be in the chat.
var demoUsers = []fakediscord.User{
	{ID: "1200000000000000001", Name: "paul"},
	{ID: "1200000000000000002", Name: "chani"},
	{ID: "1200000000000000003", Name: "liet"},
}

// demoSKU is what can be bought in the chat: tier pro.
const demoSKU = "1300000000000000001"

// demoCommands are the commands that the built-in handlers answer.
//
//go:embed demo_commands.json
var demoCommands []byte

// demoDiscord is the Discord that `arrakis dev --discord` plays in its own process. Without the flag it is nil, and its
// methods do nothing.
type demoDiscord struct {
	*fakediscord.Server
	apiURL string
}

// playDiscord starts the fake Discord, if the flag says so, and stores its guilds.
func (c *devCmd) playDiscord(ctx context.Context, nc *nats.Conn, tenants *store.Store) (*demoDiscord, error) {
	if !c.Discord {
		return nil, nil //nolint:nilnil // a nil demoDiscord is none
	}
	d := &demoDiscord{Server: fakediscord.New(fakediscord.Options{Limits: true})}
	var err error
	if d.apiURL, err = d.Start("127.0.0.1:0"); err != nil {
		return nil, err
	}
	if err := d.store(ctx, tenants); err != nil {
		d.close()
		return nil, fmt.Errorf("store the guilds of the demo: %w", err)
	}
	if _, err := nc.Subscribe("handlers.autocomplete.panel", completeHouse); err != nil { // until nc is closed
		d.close()
		return nil, fmt.Errorf("complete the options of /panel: %w", err)
	}
	return d, nil
}

func (d *demoDiscord) close() {
	if d != nil {
		_ = d.Close() // nobody calls it any more
	}
}

// join makes the worker's options those of this Discord's application, whatever the settings say of another one. ingress
// is the URL of the ingress; done ends the streams of the chat.
func (d *demoDiscord) join(o *worker.Options, ingress string, done <-chan struct{}) {
	if d == nil {
		return
	}
	o.Discord.PublicKeys, o.Discord.ApplicationID, o.Discord.APIURL = []string{d.PublicKey()}, d.ApplicationID(), d.apiURL
	guilds := make([]chat.Guild, len(demoGuilds))
	for i, g := range demoGuilds {
		guilds[i] = g.Guild
	}
	o.Chat = chat.New(chat.Options{
		Discord: d.Server, Interactions: ingress + interactionsPath, Events: ingress + eventsPath,
		Guilds: guilds, Users: demoUsers, SKU: demoSKU, Done: done,
	})
}

// store stores the configs of the guilds, and what is sold.
func (d *demoDiscord) store(ctx context.Context, tenants *store.Store) error {
	for _, g := range demoGuilds {
		if g.tier == "" {
			continue
		}
		if _, _, err := tenants.Put(ctx, g.ID, tenant.Config{Tier: g.tier}, store.PutOptions{}); err != nil {
			return err
		}
	}
	_, _, err := tenants.UpdateTiers(ctx, func(t *tenant.Tiers) error {
		t.SKUs = map[string]tenant.Tier{demoSKU: tenant.Pro}
		return nil
	})
	return err
}

// register registers the built-in commands, as `arrakis discord register` does.
func (d *demoDiscord) register(ctx context.Context) error {
	commands, err := appcommands.ParseFile(demoCommands, false)
	if err != nil {
		return fmt.Errorf("demo_commands.json: %w", err)
	}
	client, err := botapi.New(d.apiURL, d.BotToken())
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Overwrite(ctx, d.ApplicationID(), "", commands)
	return err
}

// introduce does what Discord does when the endpoints are named in the developer portal: it registers the commands, and
// probes whether the endpoints check signatures.
func (d *demoDiscord) introduce(ctx context.Context, ingress string) error {
	if d == nil {
		return nil
	}
	if err := d.register(ctx); err != nil {
		return fmt.Errorf("register the demo commands: %w", err)
	}
	if err := d.Probe(ctx, ingress+interactionsPath); err != nil {
		return fmt.Errorf("probe %s: %w", interactionsPath, err)
	}
	if err := d.ProbeEvents(ctx, ingress+eventsPath); err != nil {
		return fmt.Errorf("probe %s: %w", eventsPath, err)
	}
	return nil
}
