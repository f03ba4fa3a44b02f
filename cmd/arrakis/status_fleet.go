package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/fleet"
	"arrakis/pipeline/view"
)

// shownCommunities is how many communities the table of those that wait has; --json has more.
const shownCommunities = 10

// summary is what all workers do together, and which dead letters there are.
func summary(t *table, f *view.Fleet) {
	total := &f.Totals
	state := fmt.Sprintf("%d, %d ready", total.Workers, total.Ready)
	versions := map[string]bool{}
	for i := range f.Workers {
		if w := &f.Workers[i]; w.State != fleet.Lost && w.State != fleet.Stopped {
			versions[w.Version] = true
		}
	}
	if len(versions) > 0 {
		state += "; version " + clip(strings.Join(slices.Sorted(maps.Keys(versions)), ", "), 40)
	}
	t.row("Workers", state)
	r := &total.Rates
	t.row("A second", fmt.Sprintf("%s in, %s handled, %s limited, %s failed, %s dead letters",
		rate(r.In), rate(r.Handled), rate(r.Limited), rate(r.Failed), rate(r.DeadLettered)))
	t.words(strings.Fields(fmt.Sprintf("%d pending in JetStream, %d wait for handlers, %d run (of %d)",
		total.Pending, total.Waiting, total.Running, total.Handlers)), "Messages")
	t.row("Dead letters", deadLetters(&f.DeadLetters))
	t.flush()
}

// deadLetters counts dead letters by reason, the most first.
func deadLetters(d *view.FleetDeadLetters) string {
	if d.Messages == 0 {
		return "none"
	}
	var reasons []string
	for _, reason := range slices.SortedFunc(maps.Keys(d.ByReason), func(a, b contract.Reason) int {
		return cmp.Or(cmp.Compare(d.ByReason[b], d.ByReason[a]), cmp.Compare(a, b))
	}) {
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, d.ByReason[reason]))
	}
	return clip(fmt.Sprintf("%d, the oldest %s old: %s", d.Messages, age(milliseconds(d.OldestMS)), strings.Join(reasons, ", ")), width-14)
}

// workerTable fits into 80 columns.
func workerTable(t *table, all []view.Worker) {
	if len(all) == 0 {
		t.row("No worker is known.")
		return
	}
	t.row("WORKER", "STATE", "UP", "IN/S", "DONE/S", "LIMITED", "WAITING", "RUNNING")
	for i := range all {
		w := &all[i]
		if w.State == fleet.Lost || w.State == fleet.Stopped {
			t.row(clipStart(w.ID, 20), strings.ReplaceAll(string(w.State), "_", " "), "-", "-", "-", "-", "-",
				age(milliseconds(w.AgeMS))+" ago")
			continue
		}
		t.row(clipStart(w.ID, 20), strings.ReplaceAll(string(w.State), "_", " "), age(milliseconds(w.UptimeMS)),
			rate(w.Rates.In), rate(w.Rates.Handled), rate(w.Rates.Limited), strconv.Itoa(w.Waiting), strconv.Itoa(w.Running))
	}
	t.flush()
}

// waitingTable says of which communities the most messages wait, and who takes the most handler time.
func waitingTable(t *table, all []view.WaitingCommunity) {
	const worthShowing = 0.005 // of all handler time
	all = slices.DeleteFunc(slices.Clone(all), func(w view.WaitingCommunity) bool { return w.Waiting == 0 && w.Share < worthShowing })
	if len(all) == 0 {
		t.row("Nobody waits for a handler.")
		return
	}
	t.row("COMMUNITY", "TIER", "WAITING", "RUNNING", "BUSY", "IN A LANE")
	for i := range all[:min(len(all), shownCommunities)] {
		w := &all[i]
		t.row(clip(w.Community, 20), cmp.Or(w.Tier, "?"), strconv.Itoa(w.Waiting), strconv.Itoa(w.Running),
			fmt.Sprintf("%.0f %%", 100*w.Share), cmp.Or(clip(strings.Join(w.Lanes, ", "), 20), "-"))
	}
	t.flush()
	if more := len(all) - shownCommunities; more > 0 {
		t.row(fmt.Sprintf("and %d more communities with --json", more))
	}
}

// rate returns a number of messages a second for people, with at most five characters.
func rate(r float64) string {
	switch {
	case r == 0:
		return "0"
	case r < 9.95:
		return strconv.FormatFloat(r, 'f', 1, 64)
	case r < 9_999.5:
		return strconv.FormatFloat(r, 'f', 0, 64)
	case r < 999_500:
		return strconv.FormatFloat(r/1e3, 'f', 0, 64) + "k"
	default:
		return strconv.FormatFloat(r/1e6, 'f', 0, 64) + "M"
	}
}

// clipStart cuts the start of s, so that n characters are left: the end of a worker's ID tells it from others.
func clipStart(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return "…" + string(r[len(r)-n+1:])
	}
	return s
}
