package record

import (
	"context"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/jackc/pgx/v5"

	"arrakis/tenant/store"
)

// Drift is a way in which what Redis has of a document is not what PostgreSQL has.
type Drift string

// The kinds of drift.
const (
	DriftMissing   Drift = "missing"   // Redis does not have the document
	DriftOlder     Drift = "older"     // Redis has an earlier version, also of a document that was deleted since
	DriftNewer     Drift = "newer"     // Redis has a later version, or has deleted one: PostgreSQL was restored from a backup?
	DriftDifferent Drift = "different" // another document of the same version, or of none: somebody has written to Redis
	DriftExtra     Drift = "extra"     // PostgreSQL does not have the document: somebody has written to Redis
)

// drifts are all kinds.
var drifts = []Drift{DriftMissing, DriftOlder, DriftNewer, DriftDifferent, DriftExtra}

// Repair says which drift is repaired: Redis gets what PostgreSQL has.
type Repair int

// What is repaired.
const (
	RepairNone   Repair = iota
	RepairBehind        // what is missing or older, as after a loss of Redis
	RepairAll           // all of it: what others have written to Redis is lost
)

// CompareOptions are the options of a comparison.
type CompareOptions struct {
	Repair   Repair
	Progress Progress // may be nil
}

const (
	// maxNamed is how many documents a report names.
	maxNamed = 20
	// settleRounds and settlePause are how often, and after which time, documents that differ are looked at again:
	// a change may be on its way.
	settleRounds = 5
	settlePause  = 200 * time.Millisecond
)

// Report is the result of a comparison.
type Report struct {
	Documents int                `json:"documents"` // that PostgreSQL has
	Kinds     map[store.Kind]int `json:"kinds"`     // of them, by kind
	Drift     map[Drift]int      `json:"drift"`     // how many documents have it, before the repair; those without are left out
	Repaired  int                `json:"repaired"`
	Pending   int                `json:"pending"` // documents whose last change is still on its way
	Named     []Named            `json:"named"`   // some of those with drift
}

// Named is a document with drift.
type Named struct {
	Document string `json:"document"` // its place in Redis
	Drift    Drift  `json:"drift"`
}

// Total is how many documents have drift.
func (r *Report) Total() (n int) {
	for _, count := range r.Drift {
		n += count
	}
	return n
}

// Compare compares all documents of Redis with those of PostgreSQL. Documents may be changed meanwhile: one that
// differs counts only if it still does a moment later, and no change of it is on its way. To repair, it waits while another
// process fills Redis, compares, or moves documents to it.
func (d *DB) Compare(ctx context.Context, m store.Mirror, o CompareOptions) (r Report, err error) {
	run := func(ctx context.Context) (err error) {
		if err = d.usable(ctx, m); err == nil {
			r, err = d.compareAll(ctx, m, o)
		}
		return err
	}
	if o.Repair == RepairNone {
		err = run(ctx)
	} else {
		err = d.afterOthers(ctx, run)
	}
	return r, err
}

// compareAll is Compare in any state of the database.
func (d *DB) compareAll(ctx context.Context, m store.Mirror, o CompareOptions) (Report, error) {
	if err := d.tellAgain(ctx, m); err != nil {
		return Report{}, err
	}
	all, err := d.count(ctx)
	if err != nil {
		return Report{}, err
	}
	c := comparison{db: d, mirror: m, repair: o.Repair, known: make(map[uint64]struct{}, all), report: Report{Kinds: make(map[store.Kind]int), Drift: make(map[Drift]int), Named: []Named{}}}
	err = d.walk(ctx, func(copies []store.Copy) error {
		c.report.Documents += len(copies)
		o.Progress.tell(c.report.Documents, all)
		return c.compare(ctx, copies)
	})
	if err == nil {
		err = m.Walk(ctx, func(names []store.Name) error { return c.extra(ctx, names) })
	}
	if err != nil {
		return Report{}, fmt.Errorf("compare Redis with PostgreSQL: %w", err)
	}
	c.tell(ctx)
	return c.report, nil
}

// comparison is a comparison that is under way.
type comparison struct {
	db     *DB
	mirror store.Mirror
	repair Repair
	known  map[uint64]struct{} // hashes of the places of all documents; some 40 bytes each
	report Report
}

// tell logs the result, and shows it in the metrics.
func (c *comparison) tell(ctx context.Context) {
	for _, drift := range drifts {
		c.db.metrics.drift.WithLabelValues(string(drift)).Set(float64(c.report.Drift[drift]))
	}
	if c.report.Total() == 0 {
		c.db.log.DebugContext(ctx, "Redis has what PostgreSQL has", "documents", c.report.Documents)
		return
	}
	c.db.log.WarnContext(ctx, "Redis does not have what PostgreSQL has; `arrakis tenant reconcile` says more",
		"documents", c.report.Documents, "drift", c.report.Drift, "repaired", c.report.Repaired, "first", c.report.Named[0])
}

// compare looks at a part of the documents.
func (c *comparison) compare(ctx context.Context, copies []store.Copy) error {
	names := make([]store.Name, len(copies))
	for i := range copies {
		names[i] = copies[i].Name
		c.known[xxhash.Sum64String(names[i].String())] = struct{}{}
		c.report.Kinds[names[i].Kind]++
	}
	stored, err := c.mirror.Stored(ctx, names)
	if err != nil {
		return err
	}
	var suspects []store.Name
	for i := range copies {
		if driftOf(&copies[i], stored[i]) != "" {
			suspects = append(suspects, names[i])
		}
	}
	return c.settle(ctx, suspects)
}

// extra looks for documents that Redis has and PostgreSQL does not have. To ask PostgreSQL for each of a million would take
// a minute, because Redis names them in no order.
func (c *comparison) extra(ctx context.Context, names []store.Name) error {
	var suspects []store.Name
	for _, n := range names {
		place := xxhash.Sum64String(n.String())
		if _, there := c.known[place]; !there {
			c.known[place] = struct{}{} // a name may come twice
			suspects = append(suspects, n)
		}
	}
	return c.settle(ctx, suspects)
}

// settle looks at documents again that may have drift, until it is certain, and repairs it.
func (c *comparison) settle(ctx context.Context, suspects []store.Name) error {
	for round := 1; len(suspects) > 0; round++ {
		// PostgreSQL before and after Redis: if a document is the same there both times, and no change of it was on its way,
		// Redis had that document in between, or never gets it.
		before, waited, err := c.db.copies(ctx, suspects)
		if err != nil {
			return err
		}
		stored, err := c.mirror.Stored(ctx, suspects)
		if err != nil {
			return err
		}
		copies, waits, err := c.db.copies(ctx, suspects)
		if err != nil {
			return err
		}
		var again []store.Name
		for i := range copies {
			drift := driftOf(&copies[i], stored[i])
			pending := waited[i] || waits[i] || before[i].Number != copies[i].Number
			switch {
			case drift == "":
			case pending && round < settleRounds:
				again = append(again, suspects[i])
			case pending:
				c.report.Pending++
			default:
				if err := c.found(ctx, &copies[i], stored[i], drift); err != nil {
					return err
				}
			}
		}
		if suspects = again; len(suspects) > 0 {
			c.db.pass(ctx, settlePause)
		}
	}
	return ctx.Err()
}

// found counts the drift of a document, and repairs it.
func (c *comparison) found(ctx context.Context, kept *store.Copy, has store.Stored, drift Drift) error {
	c.report.Drift[drift]++
	if len(c.report.Named) < maxNamed {
		c.report.Named = append(c.report.Named, Named{Document: kept.Name.String(), Drift: drift})
	}
	if c.repair != RepairAll && (c.repair != RepairBehind || drift != DriftMissing && drift != DriftOlder) {
		return nil
	}
	c.db.untold.Store(true) // also if the answer of Redis is lost
	if err := c.mend(ctx, kept, has); err != nil {
		return fmt.Errorf("repair %s: %w; run `arrakis reload` when Redis answers, so that workers read what is repaired already", kept.Name, err)
	}
	c.db.untold.Store(false)
	return nil
}

// mend gives Redis what PostgreSQL has of a document, and tells every process.
func (c *comparison) mend(ctx context.Context, kept *store.Copy, has store.Stored) (err error) {
	repaired := 0
	if c.repair == RepairAll {
		repaired, err = c.mirror.Replace(ctx, has, *kept)
	} else {
		repaired, err = c.mirror.Apply(ctx, []store.Copy{*kept})
	}
	if err != nil || repaired == 0 {
		return err
	}
	c.report.Repaired++
	return c.mirror.Announce(ctx, []store.Copy{*kept})
}

// tellAgain tells every process to read all documents, if an earlier comparison may have repaired one and told nobody: this
// one finds no drift of it.
func (d *DB) tellAgain(ctx context.Context, m store.Mirror) error {
	if !d.untold.Load() {
		return nil
	}
	err := m.ReloadAll(ctx)
	if err == nil {
		d.untold.Store(false)
	}
	return err
}

// driftOf says how what Redis has differs from what PostgreSQL has, "" if it does not.
func driftOf(kept *store.Copy, has store.Stored) Drift {
	switch number := has.Number(); {
	case kept.Text == "" && !has.Exists():
		return ""
	case !has.Exists() && number < kept.Number:
		return DriftMissing
	case !has.Exists(): // Redis knows of a later deletion
		return DriftNewer
	case number > 0 && number < kept.Number: // also of a document that PostgreSQL has deleted since
		return DriftOlder
	case kept.Text == "":
		return DriftExtra
	case number == 0:
		return DriftDifferent
	case number > kept.Number:
		return DriftNewer
	case !kept.Is(has):
		return DriftDifferent
	default:
		return ""
	}
}

// copies reads documents, in the order of names, also those that are deleted or were never there. pending says which have a
// change that Redis does not have yet.
func (d *DB) copies(ctx context.Context, names []store.Name) (copies []store.Copy, pending []bool, err error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	kinds, ids := columns(names)
	rows, _ := d.pool.Query(ctx, `SELECT coalesce(d.doc::text, ''), coalesce(d.version, 0),
			EXISTS (SELECT FROM arrakis.outbox o WHERE o.kind = n.kind AND o.id = n.id)
		FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (kind, id, place)
		LEFT JOIN arrakis.documents d ON d.kind = n.kind AND d.id = n.id COLLATE "C" ORDER BY n.place`, kinds, ids) // CollectRows returns the error
	_, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (struct{}, error) {
		c, waits := store.Copy{Name: names[len(copies)]}, false
		err := r.Scan(&c.Text, &c.Number, &waits)
		copies, pending = append(copies, c), append(pending, waits)
		return struct{}{}, err
	})
	return copies, pending, d.readError(ctx, err)
}
