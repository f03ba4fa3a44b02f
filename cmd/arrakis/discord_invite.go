package main

import (
	"context"
	"errors"
	"net/url"
	"strconv"

	"arrakis/pipeline/discord"
)

// authorizeURL is the page of Discord on which somebody adds an application.
const authorizeURL = "https://discord.com/oauth2/authorize"

type discordInviteCmd struct {
	Permissions string `placeholder:"N" help:"Permissions that the bot asks for, as the number that the developer portal computes. Default: none, which is enough to answer commands."`
	Guild       string `placeholder:"ID" help:"Guild that is chosen on the page. Default: whoever opens it chooses."`
	discordApplication
	outputFlags
}

func (*discordInviteCmd) Help() string {
	return `Whoever opens the address adds the application to a guild in which they may manage the server. It asks for the scopes bot and applications.commands.`
}

func (c *discordInviteCmd) validate(process) error {
	errs := []error{c.required()}
	if _, err := strconv.ParseUint(c.Permissions, 10, 64); c.Permissions != "" && err != nil {
		errs = append(errs, errors.New("--permissions: expected a number, such as 2048 (send messages)"))
	}
	if c.Guild != "" && !discord.ValidID(c.Guild) {
		errs = append(errs, errGuild)
	}
	return errors.Join(errs...)
}

// errGuild is the error of a flag --guild that is no ID.
var errGuild = errors.New("--guild: expected the ID of a guild, of up to 20 digits")

func (c *discordInviteCmd) Run(_ context.Context, p process) error {
	address := c.url()
	return c.print(p.stdout, map[string]string{"url": address}, func(t *table) {
		t.row(address)
		t.row("")
		t.row("Open it to add the application to a guild. Its commands are those that")
		t.row("`arrakis discord register` has registered; it answers once workers run with")
		t.row("DISCORD_PUBLIC_KEY and Discord knows where: see docs/discord.md.")
	})
}

func (c *discordInviteCmd) url() string {
	q := url.Values{"client_id": {c.ApplicationID}, "scope": {"bot applications.commands"}}
	if c.Permissions != "" {
		q.Set("permissions", c.Permissions)
	}
	if c.Guild != "" {
		q.Set("guild_id", c.Guild)
		q.Set("disable_guild_select", "true")
	}
	return authorizeURL + "?" + q.Encode()
}
