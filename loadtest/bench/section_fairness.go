package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/loadtest/bench/contender"
	"arrakis/loadtest/bench/report"
	"arrakis/loadtest/bench/workload"
	"arrakis/pipeline/contract"
)

// The section fairness asks what the backlog of one community does to others. Its load is this:
//
//   - 99 quiet communities of all tiers, each with a message a second for a handler that ends at once, are published at
//     fixed times whatever comes back. Latency is the time from when a message was due until its handler ended, in
//     whichever worker. A message that has not ended two seconds after the run counts with its age.
//   - The flood is published by one publisher as fast as JetStream acknowledges it, with 256 messages in flight, on a
//     connection of its own, while the workers run; its handler takes 50 ms. It is taken in when the consumer of COMMANDS
//     has nothing left to deliver.
//   - Every run has servers of its own, streams in files, and workers that are processes with 256 handlers each.
//   - First the quiet communities are alone (calm), then the flood begins, in the same processes. After it has been taken in
//     (or, for a worker that does not get so far, after 15 s), its backlog is still there.

// fairSize is how long the phases of the section fairness are.
type fairSize struct {
	burst                      int // messages of the flood
	calm, takenIn, after, hard time.Duration
}

// fairVariant is a worker that is compared.
type fairVariant struct {
	contender contender.Name
	workers   int
}

func (v fairVariant) String() string {
	if v.workers == 1 {
		return string(v.contender) + ", 1 worker"
	}
	return fmt.Sprintf("%s, %d workers", v.contender, v.workers)
}

// fairRounds are the runs of one variant.
type fairRounds struct {
	beside, floodAlone []fairResult
}

// fairWarm is how long the workers get messages before anything is measured.
const fairWarm = 2 * time.Second

// fairness runs the section.
func (b *bench) fairness(ctx context.Context) error {
	ours := []fairVariant{{contender.Arrakis, 1}, {contender.Arrakis, 3}}
	others := []fairVariant{{contender.Watermill, 1}, {contender.Textbook, 1}}
	all := map[fairVariant]*fairRounds{}
	for round := range b.runs {
		for _, v := range ours {
			if err := b.fairRound(ctx, v, round, all); err != nil {
				return fmt.Errorf("%s: %w", v, err)
			}
		}
	}
	for _, v := range others {
		if err := b.fairBeside(ctx, v, 0, all); err != nil {
			return fmt.Errorf("%s: %w", v, err)
		}
	}
	variants := slices.Concat(ours, others)
	b.showFairness(variants, all)
	b.showFloods(variants, all)
	b.fairTargets(ours, all)
	if err := b.fairShares(ctx); err != nil {
		return err
	}
	return b.fairHard(ctx)
}

// fairBurst is the run with one flooding community.
func (b *bench) fairBurst(v fairVariant) fairRun {
	return fairRun{
		contender: v.contender, workers: v.workers, quiet: true, warm: fairWarm, calm: b.phases.calm,
		takenIn: b.phases.takenIn, after: b.phases.after,
		flood: flood{communities: []int{0}, command: workload.Slow, messages: b.phases.burst},
	}
}

// fairRound measures a variant beside a flood, and the flood alone.
func (b *bench) fairRound(ctx context.Context, v fairVariant, round int, all map[fairVariant]*fairRounds) error {
	if err := b.fairBeside(ctx, v, round, all); err != nil {
		return err
	}
	r := b.fairBurst(v)
	r.quiet, r.calm = false, 0
	result, err := b.fairOnce(ctx, r)
	if err != nil {
		return fmt.Errorf("the flood alone: %w", err)
	}
	all[v].floodAlone = append(all[v].floodAlone, result)
	b.say("fairness, run %d of %d: %s: the flood alone %s msg/s", round+1, b.runs, v, report.Count(result.rate))
	return nil
}

// fairBeside measures a variant beside a flood.
func (b *bench) fairBeside(ctx context.Context, v fairVariant, round int, all map[fairVariant]*fairRounds) error {
	r := b.fairBurst(v)
	if v.contender == contender.Arrakis {
		r.profile = b.profileFile(fmt.Sprintf("fairness-%d-workers", v.workers), round)
	}
	result, err := b.fairOnce(ctx, r)
	if err != nil {
		return err
	}
	if all[v] == nil {
		all[v] = &fairRounds{}
	}
	all[v].beside = append(all[v].beside, result)
	b.say("fairness, run %d of %d: %s: p99 %s ms alone, %s in the first 3 s, %s after; taken in: %s; flood %s msg/s; "+
		"p99 until stored %s ms",
		round+1, b.runs, v, p99Of(result.alone), p99Of(result.first), p99Of(result.after), takenText(result.taken),
		report.Count(result.rate), p99Of(result.stored))
	return nil
}

func p99Of(sorted []time.Duration) string { return report.Decimal(ms(percentile(sorted, 0.99))) }

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// takenText says how long it took until a flood was taken in.
func takenText(d time.Duration) string {
	if d == 0 {
		return "not"
	}
	return report.Decimal(d.Seconds()) + " s"
}

// seriesOf is a number of all runs.
func seriesOf(results []fairResult, number func(*fairResult) float64) report.Series {
	series := make(report.Series, len(results))
	for i := range results {
		series[i] = number(&results[i])
	}
	return series
}

// phase is a percentile of a phase, in ms.
func phase(of func(*fairResult) []time.Duration, share float64) func(*fairResult) float64 {
	return func(r *fairResult) float64 { return ms(percentile(of(r), share)) }
}

// The phases of a run, and other numbers of it.
func aloneOf(r *fairResult) []time.Duration  { return r.alone }
func firstOf(r *fairResult) []time.Duration  { return r.first }
func afterOf(r *fairResult) []time.Duration  { return r.after }
func besideOf(r *fairResult) []time.Duration { return r.beside }
func floodRate(r *fairResult) float64        { return r.rate }

// showFairness shows what quiet communities wait.
func (b *bench) showFairness(variants []fairVariant, all map[fairVariant]*fairRounds) {
	percentiles := func(results []fairResult, of func(*fairResult) []time.Duration) string {
		text := ""
		for _, share := range []float64{0.5, 0.95, 0.99} {
			if text != "" {
				text += " / "
			}
			text += report.Decimal(seriesOf(results, phase(of, share)).Median())
		}
		return text
	}
	t := &report.Table{
		Title:   "Quiet communities beside a flood",
		Columns: []string{"p50 / p95 / p99 in ms", "alone", "first 3 s", "after it was taken in"},
		Notes: []string{fmt.Sprintf("99 quiet communities have a message a second each, for a handler that ends at once; latency is from "+
			"when a message was due to the end of its handler. The flood: one enterprise community publishes %s messages for a "+
			"handler of 50 ms, as fast as JetStream acknowledges them with 256 in flight. After: once JetStream has delivered all of "+
			"the flood, or %s after its beginning if it has not, with its backlog still there. A message that was not handled at the "+
			"end counts with its age, so larger numbers are lower bounds. All workers run 256 handlers each.",
			report.Count(float64(b.phases.burst)), b.phases.takenIn)},
	}
	var lines []report.Distribution
	for _, v := range variants {
		results := all[v].beside
		t.Add(v.String(), percentiles(results, aloneOf), percentiles(results, firstOf), percentiles(results, afterOf))
		if v.contender == contender.Arrakis && v.workers == 1 {
			lines = append(lines, distribution(v.String()+", alone", results, aloneOf))
		}
		lines = append(lines, distribution(v.String(), results, besideOf))
	}
	b.report.Tables = append(b.report.Tables, t)
	b.report.PlotTails(t, "fairness.svg", "ms from due to handled", lines)
}

// distribution is that of the latencies of all runs in one phase.
func distribution(name string, results []fairResult, of func(*fairResult) []time.Duration) report.Distribution {
	d := report.Distribution{Name: name}
	for i := range results {
		for _, latency := range of(&results[i]) {
			d.Values = append(d.Values, ms(latency))
		}
	}
	return d
}

// showFloods shows what the flood gets and costs.
func (b *bench) showFloods(variants []fairVariant, all map[fairVariant]*fairRounds) {
	t := &report.Table{
		Title:   "The flood itself",
		Columns: []string{"", "msg/s alone", "beside", "taken in", "left", "workers MiB", "nats MiB", "disk MiB"},
		Notes: []string{"msg/s: messages of the flood that were handled, from its beginning to the end of the run. taken in: when JetStream " +
			"had delivered all of it. left: messages that were still waiting at the end. MiB: the most memory that the workers' processes and " +
			"nats-server had resident, and the most that nats-server had in files."},
	}
	for _, v := range variants {
		results := all[v].beside
		last := results[len(results)-1]
		alone := "-"
		if rates := seriesOf(all[v].floodAlone, floodRate); len(rates) > 0 {
			alone = report.Count(rates.Median())
		}
		mib := func(what string) string {
			used := seriesOf(results, func(r *fairResult) float64 { return float64(r.peaks[what]) / (1 << 20) })
			return report.Count(used.Median())
		}
		t.Add(v.String(), alone, report.Count(seriesOf(results, floodRate).Median()), takenText(last.taken),
			report.Count(float64(last.left)), mib("workers"), mib("nats-server"), mib("disk"))
	}
	b.report.Tables = append(b.report.Tables, t)
}

// fairTargets adds the promises of the runs with one flood.
func (b *bench) fairTargets(ours []fairVariant, all map[fairVariant]*fairRounds) {
	for _, v := range ours {
		name := fmt.Sprintf("fairness, %d of arrakis: ", v.workers)
		beside := all[v].beside
		b.target(report.Target{
			Name: name + "quiet p99 after, of alone", Most: 2, Unit: "x",
			Got: seriesOf(beside, phase(afterOf, 0.99)).Over(seriesOf(beside, phase(aloneOf, 0.99))),
		})
		b.target(report.Target{
			Name: name + "quiet p99 in the first 3 s", Most: 500, Unit: " ms", Got: seriesOf(beside, phase(firstOf, 0.99)),
		})
		b.target(report.Target{
			Name: name + "the flood's rate, of alone", Least: 0.9, Unit: "x",
			Got: seriesOf(beside, floodRate).Over(seriesOf(all[v].floodAlone, floodRate)),
		})
	}
}

// fairShares lets communities of all tiers flood, and shows which shares they get.
func (b *bench) fairShares(ctx context.Context) error {
	tiers := []struct {
		community int
		weight    float64
	}{{30, 1}, {10, 2}, {0, 4}} // free, pro, enterprise
	const allWeights = 7
	f := flood{command: workload.Slow, messages: b.phases.burst}
	for _, tier := range tiers {
		f.communities = append(f.communities, tier.community)
	}
	result, err := b.fairOnce(ctx, fairRun{
		contender: contender.Arrakis, workers: 1, flood: f, warm: fairWarm, takenIn: b.phases.takenIn, after: b.phases.after,
	})
	if err != nil {
		return fmt.Errorf("three floods: %w", err)
	}
	t := &report.Table{
		Title:   "Three floods: shares of handler time",
		Columns: []string{"tier", "share", "wanted", "of wanted"},
		Notes: []string{"One worker; three communities, the limits of pro and free raised, publish a third of the messages each, in turn, for a handler " +
			"of 50 ms. Shares are those of the time after the messages were taken in."},
	}
	farthest := 0.0
	for i, tier := range tiers {
		wanted := tier.weight / allWeights
		of := result.shares[i] / wanted
		farthest = max(farthest, 100*max(of-1, 1-of))
		t.Add(string(workload.Raised.Tier(tier.community)), report.Decimal(result.shares[i]), report.Decimal(wanted), report.Decimal(of))
	}
	b.report.Tables = append(b.report.Tables, t)
	b.target(report.Target{Name: "fairness: shares 1:2:4, the farthest off", Got: report.Series{farthest}, Most: 10, Unit: " %"})
	b.say("fairness, three floods: shares %.3v", result.shares)
	return nil
}

// fairHard lets one community try what hurts most.
func (b *bench) fairHard(ctx context.Context) error {
	t := &report.Table{
		Title:   "Quiet communities beside what hurts most, one worker: ms",
		Columns: []string{"", "p50", "p95", "p99", "stored", "small", "sent", "handled", "workers MiB", "nats MiB", "disk MiB", "OVERFLOW MiB"},
		Notes: []string{"From the beginning of the flood on. stored: p99 until JetStream had stored the quiet messages; no worker can be faster. " +
			"Lane full: one unlimited enterprise community publishes 100,000 messages of 4 KiB for a handler of 50 ms. OVERFLOW " +
			"takes 64 MiB: its part of it is full within a second or two, and what it has no room for waits in RETRY, less than half of " +
			"it. (More than half would be in others' way, see docs/fairness.md.) Beside it a small community of the free tier publishes 1,000 messages a second " +
			"for the same handler, a little more than its part of the handlers can do, so that it waits in a lane too; small: its share of " +
			"their handler time afterwards, of the fifth that its weight gives it. Retries: 100,000 messages whose handler fails. " +
			"DEADLETTER away: it refuses messages, and 20,000 messages make their handler panic."},
	}
	for _, hard := range []struct {
		name, target string
		flood        flood
		small        bool // a small community in a lane beside it
		prepare      func(context.Context, *servers) error
	}{
		{"lane full", "one tenant fills its part of OVERFLOW", flood{command: workload.Slow, messages: 100_000, bytes: 4 << 10}, true, shrinkOverflow},
		{"retries", "100,000 retries", flood{command: workload.Failing, messages: 100_000}, false, nil},
		{"DEADLETTER away", "DEADLETTER unavailable", flood{command: workload.Panicking, messages: 20_000}, false, refuseDeadLetters},
	} {
		r := fairRun{
			contender: contender.Arrakis, workers: 1, quiet: true, flood: hard.flood, warm: fairWarm, after: b.phases.hard, prepare: hard.prepare,
		}
		r.flood.communities = []int{0}
		r.small = hard.small
		result, err := b.fairOnce(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", hard.name, err)
		}
		ofSmall := "-"
		if r.small {
			if ofSmall, err = b.fairSmall(&result); err != nil {
				return err
			}
		}
		late := percentile(result.beside, 0.99)
		mib := func(what string) string { return report.Count(float64(result.peaks[what]) / (1 << 20)) }
		t.Add(hard.name, report.Decimal(ms(percentile(result.beside, 0.5))), report.Decimal(ms(percentile(result.beside, 0.95))),
			report.Decimal(ms(late)), p99Of(result.stored), ofSmall, report.Count(float64(result.sent)), report.Count(float64(result.handled)),
			mib("workers"), mib("nats-server"), mib("disk"), report.Count(float64(result.overflow)/(1<<20)))
		b.target(report.Target{Name: "fairness: " + hard.target + ", quiet p99", Got: report.Series{ms(late)}, Most: 100, Unit: " ms"})
		b.say("fairness, %s: quiet p99 %s ms, %d not handled, taken in: %s; p99 until stored %s ms", hard.name, report.Decimal(ms(late)),
			result.late, takenText(result.taken), p99Of(result.stored))
	}
	b.report.Tables = append(b.report.Tables, t)
	return nil
}

// fairSmall adds the promise to the small community beside one that has its part of OVERFLOW, and returns what it got of
// its share.
func (b *bench) fairSmall(result *fairResult) (string, error) {
	if result.overflow < shrunkOverflow*4/10 {
		return "", fmt.Errorf("OVERFLOW has had only %d bytes: the flood has not filled its part, and the run shows nothing", result.overflow)
	}
	const wanted = 1.0 / 5 // weight 1 beside 4
	got := result.shares[1] / wanted
	b.target(report.Target{Name: "fairness: one tenant fills its part of OVERFLOW, handler time of a small one in a lane, of its share", Got: report.Series{got}, Least: 0.9, Unit: "x"})
	b.say("fairness, lane full: OVERFLOW had %s MiB; the small community got %s of its share", report.Count(float64(result.overflow)/(1<<20)), report.Decimal(got))
	return report.Decimal(got), nil
}

// shrunkOverflow is how many bytes OVERFLOW has once it is shrunk.
const shrunkOverflow = 64 << 20

// shrinkOverflow makes OVERFLOW take less.
func shrinkOverflow(ctx context.Context, s *servers) error {
	stream, err := s.js.Stream(ctx, contract.StreamOverflow)
	if err != nil {
		return fmt.Errorf("look at OVERFLOW: %w", err)
	}
	c := stream.CachedInfo().Config
	c.MaxBytes = shrunkOverflow
	if _, err := s.js.UpdateStream(ctx, c); err != nil {
		return fmt.Errorf("shrink OVERFLOW: %w", err)
	}
	return nil
}

// refuseDeadLetters makes DEADLETTER refuse messages: it is full.
func refuseDeadLetters(ctx context.Context, s *servers) error {
	stream, err := s.js.Stream(ctx, contract.StreamDeadLetter)
	if err != nil {
		return fmt.Errorf("look at the dead letters: %w", err)
	}
	c := stream.CachedInfo().Config
	c.Discard, c.MaxMsgs = jetstream.DiscardNew, 1
	if _, err := s.js.UpdateStream(ctx, c); err != nil {
		return fmt.Errorf("fill the dead letters: %w", err)
	}
	if _, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: "deadletter.bench.full"}); err != nil {
		return fmt.Errorf("fill the dead letters: %w", err)
	}
	return nil
}
