package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter/redishealth"
	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
	"arrakis/pipeline/view"
)

type statusCmd struct {
	Watch bool `help:"Go on until interrupted: every 2 s, in place on a terminal; with --json one document a line."`
	natsFlags
	redisSettings
	streamSettings
}

func (*statusCmd) Help() string {
	return `What does not work as it should comes first. Workers tell of themselves every 2 s: rates are messages a second, ` +
		`WAITING those that wait for a handler. A worker of which nothing is heard for 8 s is lost; it is shown for a minute. ` +
		`BUSY is the part of all handler time that a community takes. ` +
		`PENDING messages were not delivered to a worker yet; UNACKED ones are with a worker, or wait to be delivered again. ` +
		`OLDEST is the age of the oldest message that the stream keeps. ` +
		`DROPPED messages reached their stream's bound of age or size before any worker saw them: they are lost. ` +
		`That count is in Redis; without Redis it is "?", and everything else is shown. ` +
		`COMMANDS and ELIGIBILITY refuse new messages when they are full. ` +
		`A community IN A LANE had more messages waiting than its share, so they wait in OVERFLOW, where they hold up nobody else. ` +
		`"arrakis provision" shows how a stream that "differs" differs from the settings.`
}

func (c *statusCmd) validate(p process) error {
	return validateServers(p, &c.natsFlags, &c.redisSettings)
}

func (c *statusCmd) Run(ctx context.Context, p process) error {
	return c.withServers(&c.redisSettings, func(js jetstream.JetStream, rdb redis.UniversalClient, health *redishealth.Health) error {
		w := fleet.NewWatcher(fleet.WatcherOptions{
			JetStream: js, Redis: rdb, Health: health, Streams: c.options(), Logger: slog.New(slog.DiscardHandler),
		})
		if c.Watch {
			return c.watch(ctx, p.stdout, w)
		}
		s, err := w.Look(ctx)
		if err != nil {
			return err
		}
		f := view.NewFleet(s)
		return c.print(p.stdout, f, func(t *table) { fleetTables(t, f) })
	})
}

// fleetTables shows a fleet to people. It fits into 80 columns.
func fleetTables(t *table, f *view.Fleet) {
	for i, sentence := range f.Degraded {
		label := ""
		if i == 0 {
			label = "Degraded:"
		}
		t.words(strings.Fields(sentence), label)
	}
	if len(f.Degraded) > 0 {
		t.flush()
		t.row("")
	}
	summary(t, f)
	t.row("")
	workerTable(t, f.Workers)
	t.row("")
	waitingTable(t, f.Waiting)
	t.flush()
	t.row("")
	statusTable(t, f.Streams)
	t.row("")
	laneTable(t, f.Lanes)
}

// statusTable fits into 80 columns.
func statusTable(t *table, all []view.Stream) {
	t.row("STREAM", "MESSAGES", "BYTES", "BOUND", "OLDEST", "DROPPED", "SETTINGS")
	for _, s := range all {
		if !s.Exists {
			t.row(s.Stream, "-", "-", "-", "-", "-", "missing")
			continue
		}
		bound, dropped, settings := "-", "-", "as wanted"
		if s.MaxBytes != nil {
			bound = size(uint64(*s.MaxBytes)) //nolint:gosec // above 0
		}
		if slices.Contains(contract.Streams(), s.Stream) {
			dropped = "?"
		}
		if s.UnreadDropped != nil {
			dropped = strconv.FormatUint(*s.UnreadDropped, 10)
		}
		if len(s.Differs) > 0 {
			settings = "differs"
		}
		oldest := "-"
		if s.Messages > 0 {
			oldest = age(milliseconds(s.OldestMS))
		}
		t.row(s.Stream, strconv.FormatUint(s.Messages, 10), size(s.Bytes), bound, oldest, dropped, settings)
	}
	t.flush()
	t.row("")
	t.row("CONSUMER", "PENDING", "UNACKED", "REDELIVERED", "LEADER")
	for _, s := range all {
		for _, c := range s.Consumers {
			if c.Fault != "" {
				t.row(c.Consumer, c.Fault)
				continue
			}
			t.row(c.Consumer, strconv.FormatUint(c.Pending, 10), strconv.Itoa(c.Unacked), strconv.Itoa(c.Redelivered),
				clip(cmp.Or(c.Leader, "-"), 24))
		}
	}
}

// laneTable says who is in a lane. It fits into 80 columns.
func laneTable(t *table, all []view.Lane) {
	if len(all) == 0 {
		t.row("In a lane: nobody.")
		return
	}
	t.flush()
	t.row("IN A LANE", "KIND", "LANE", "SINCE", "MESSAGES", "BYTES", "OLDEST")
	for _, l := range all {
		number, since, oldest := strconv.Itoa(l.Lane), "?", "-"
		if l.Shared {
			number += " shared"
		}
		if l.Opened != nil {
			since = age(max(0, time.Since(*l.Opened)))
		}
		if l.OldestMS > 0 {
			oldest = age(milliseconds(l.OldestMS))
		}
		t.row(clip(l.Community, 20), l.Kind, number, since, strconv.FormatUint(l.Messages, 10), size(l.Bytes), oldest)
	}
}

// age returns d for people, rounded down to one unit.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// size returns a number of bytes for people, with at most four digits.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.5 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if value >= 99.95 {
		return fmt.Sprintf("%.0f %ciB", value, units[unit])
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
