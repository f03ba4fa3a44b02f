package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/appcommands"
	"arrakis/pipeline/discord/botapi"
)

type discordRegisterCmd struct {
	File   string `arg:"" placeholder:"FILE" help:"File with all commands, a JSON array in Discord's form; - is standard input."`
	Guild  string `placeholder:"ID" help:"Register them for this guild alone, where they can be used at once. Default: for all guilds and direct messages."`
	DryRun bool   `help:"Show what would change, and change nothing."`
	Yes    bool   `help:"Do not ask."`
	discordBot
	outputFlags
}

func (*discordRegisterCmd) Help() string {
	return `The file replaces all commands that there are: one that is not in it is removed. What would change is shown first, and on a terminal you are asked. ` +
		`Without a terminal, --yes does it, and --dry-run shows it. The commands of a guild and those for all guilds are apart: a file that is registered for both shows each command twice in that guild.`
}

func (c *discordRegisterCmd) validate(process) error {
	var guild, both error
	if c.Guild != "" && !discord.ValidID(c.Guild) {
		guild = errGuild
	}
	if c.DryRun && c.Yes {
		both = errors.New("--dry-run changes nothing and --yes does: leave one out")
	}
	return errors.Join(guild, both, c.discordBot.validate())
}

// maxCommandsFile bounds the file, in bytes. A hundred commands with all their translations have less.
const maxCommandsFile = 16 << 20

func (c *discordRegisterCmd) Run(ctx context.Context, p process) error {
	file, err := c.read(p)
	if err != nil {
		return usageError{err}
	}
	wanted, err := appcommands.ParseFile(file, c.Guild != "")
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", c.File, err)}
	}
	client, err := botapi.New(c.APIURL, c.BotToken)
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	present, err := client.Commands(ctx, c.ApplicationID, c.Guild)
	if err != nil {
		return explainDiscord(err)
	}
	plan := appcommands.NewPlan(present, wanted, c.Guild != "")
	if !c.JSON {
		if err := c.print(p.stdout, nil, func(t *table) { planTable(t, &plan, c.Guild) }); err != nil {
			return err
		}
	}
	if !plan.Empty() && !c.DryRun {
		if err := c.confirm(p, &plan); err != nil {
			return err
		}
		if _, err := client.Overwrite(ctx, c.ApplicationID, c.Guild, plan.Send); err != nil {
			return explainDiscord(err)
		}
	}
	done := !plan.Empty() && !c.DryRun
	return c.print(p.stdout, newPlanView(&plan, done), func(t *table) { t.row(conclusionOf(&plan, done)) })
}

func (c *discordRegisterCmd) read(p process) ([]byte, error) {
	in, err := p.openInput(c.File)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(in, maxCommandsFile+1))
	if err == nil && len(text) > maxCommandsFile {
		err = fmt.Errorf("%s is larger than %d MiB: it is no file of commands", c.File, maxCommandsFile>>20)
	}
	return text, err
}

// confirm asks whether the change is wanted, where somebody can answer.
func (c *discordRegisterCmd) confirm(p process, plan *appcommands.Plan) error {
	if c.Yes {
		return nil
	}
	question := "Replace the commands?"
	if n := len(plan.Removed); n > 0 {
		question = fmt.Sprintf("Replace the commands, and REMOVE %s?", plural(n, "command"))
	}
	// With --json the question would be in what a program reads, and with - the answer in what was read.
	if c.JSON || c.File == "-" || p.ask == nil {
		return usageError{errors.New("add --yes to do it, or --dry-run to only show it")}
	}
	yes, err := p.ask(question)
	if err != nil {
		return err
	}
	if !yes {
		_, _ = fmt.Fprintln(p.stderr, "arrakis: nothing is changed")
		return errSilent
	}
	return nil
}
