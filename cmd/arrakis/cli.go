package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"arrakis/tenant/store"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or settings
)

// commands is the grammar of the command line.
type commands struct {
	Dev   devCmd   `cmd:"" help:"Run everything in this process, with nothing else installed." set:"http_addr=127.0.0.1:8080"`
	Serve serveCmd `cmd:"" help:"Run a worker and its ingress against real NATS and Redis." set:"http_addr=:8080" set:"nats_url=" set:"nats_hint=URL,..." set:"nats_note= Required."` //nolint:staticcheck // kong reads every set

	Send    sendCmd    `cmd:"" help:"Send a command as a community and print the reply." set:"nats_url=${local_nats}"`
	Usage   usageCmd   `cmd:"" help:"Show what a community has used of its limits, and what waits in its lanes." set:"nats_url=${local_nats}"`
	Explain explainCmd `cmd:"" help:"Say what a command of a community would get now, and which document decided that."`

	Tenant  tenantCmd  `cmd:"" help:"Read and change tenants."`
	Account accountCmd `cmd:"" help:"Read and change accounts, which several communities share."`
	Tiers   tiersCmd   `cmd:"" help:"Read and change what tiers may do."`
	Flag    flagCmd    `cmd:"" help:"Read and change feature flags."`
	Reset   resetCmd   `cmd:"" help:"Forget what a community has used of its limits."`
	Reload  reloadCmd  `cmd:"" help:"Make every worker read its configuration again."`
	Audit   auditCmd   `cmd:"" help:"Show who has changed what."`

	Discord discordCmd `cmd:"" help:"Set up a bot on Discord."`

	DLQ       dlqCmd       `cmd:"" help:"List, show, replay and delete dead letters." set:"nats_url=${local_nats}"`
	Status    statusCmd    `cmd:"" help:"Show the workers, the streams and the lanes: what is wrong, what waits, who waits." set:"nats_url=${local_nats}"`
	Migrate   migrateCmd   `cmd:"" help:"Make or change the tables of PostgreSQL."`
	Drain     drainCmd     `cmd:"" help:"Move messages from another broker to NATS, or back." set:"nats_url=${local_nats}"`
	Provision provisionCmd `cmd:"" help:"Compare the JetStream streams with the settings, and update the streams." set:"nats_url=${local_nats}"`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

const description = `Arrakis runs the commands of a multi-tenant bot or SaaS. For every message it finds the tenant,
what the tenant may do, and how much of that is used up. Start with "arrakis dev".

Every setting is a flag and an environment variable; the flag wins. The exit code is 0 if the command is done,
1 if it failed, and 2 if its arguments or settings are wrong.`

// newParser makes the parser that fills grammar and f. It calls exit after --help.
func newParser(grammar *commands, f *faults, p process, exit func()) *kong.Kong {
	parser, err := kong.New(
		grammar,
		kong.Name("arrakis"),
		kong.Description(description),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(int) { exit() }),
		defaults(),
		kong.Vars{"local_nats": localNATS, "nats_hint": "", "nats_note": "", "yes_note": ""},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.ValueFormatter(describe),
		kong.Resolvers(fromEnvironment(p.lookupEnv)),
		f.mappers(),
		settingGroups,
	)
	if err != nil {
		panic(fmt.Sprintf("the grammar is wrong: %v", err)) // a bug of arrakis, which every test of the command line finds
	}
	return parser
}

// run parses the command line and runs the command. It prints errors and returns the exit code.
func run(ctx context.Context, args []string, p process) int {
	exited := false // by --help
	var grammar commands
	var f faults
	parser := newParser(&grammar, &f, p, func() { exited = true })
	parsed, err := parser.Parse(args)
	if exited {
		return exitDone
	}
	if err != nil {
		return report(p.stderr, usageError{fmt.Errorf(`%w; run "%s --help"`, err, commandOf(err))})
	}
	if v, ok := parsed.Selected().Target.Addr().Interface().(interface{ validate(p process) error }); ok {
		f.add(v.validate(p))
	}
	if err := f.err(); err != nil {
		return report(p.stderr, usageError{err})
	}
	ctx = store.WithOrigin(ctx, origin())
	parsed.BindTo(ctx, (*context.Context)(nil))
	return report(p.stderr, parsed.Run(p))
}

// commandOf returns the command that a line with an error was for, as far as it was understood.
func commandOf(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		if node := parse.Context.Selected(); node != nil {
			return node.FullPath()
		}
	}
	return "arrakis"
}

// usageError is an error of the command line or of the settings. Its exit code is 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errSilent ends a command with exit code 1 and prints nothing, because the command has already printed the reason.
var errSilent = errors.New("failed")

// report prints err, with a prefix in front of each line, and returns the exit code.
func report(stderr io.Writer, err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errSilent):
		return exitFailed
	}
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintln(stderr, "arrakis: "+strings.TrimRight(line, "\n"))
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}
