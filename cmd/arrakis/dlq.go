package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/view"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"List dead letters, the oldest first."`
	Show   dlqShowCmd   `cmd:"" help:"Show one dead letter with its headers and body."`
	Replay dlqReplayCmd `cmd:"" help:"Put dead letters back into the streams that they came from." set:"yes_note= A replay of numbers needs no --yes."`
	Purge  dlqPurgeCmd  `cmd:"" help:"Delete dead letters for good."`
}

// withDeadLetters runs do with the dead letters of NATS.
func (f *natsFlags) withDeadLetters(do func(*deadletter.Store) error) error {
	return f.withJetStream(func(_ *nats.Conn, js jetstream.JetStream) error { return deadLetterError(do(deadletter.New(js))) })
}

// deadLetterError adds advice to an error of package deadletter.
func deadLetterError(err error) error {
	var refused *deadletter.RefusedError
	switch {
	case errors.Is(err, deadletter.ErrNotFound):
		return fmt.Errorf("%w: it was replayed or purged, has become too old, or never existed; `arrakis dlq list` shows the dead letters that exist", err)
	case errors.As(err, &refused):
		return fmt.Errorf("%w; `arrakis dlq show %d` shows its body, to send again by other means", err, refused.Seq)
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("%w: run a worker (`arrakis serve`), which creates the streams, or `arrakis provision --apply`", err)
	default:
		return err
	}
}

// deadLetterFilter selects dead letters. A flag that was not given is nil. An empty flag is refused, because an empty
// variable in a script must not select all dead letters.
type deadLetterFilter struct {
	Stream    *string `placeholder:"STREAM" help:"Only dead letters of this stream: COMMANDS, EVENTS, ELIGIBILITY or ANSWERS."`
	Reason    *string `placeholder:"REASON" help:"Only dead letters with this reason: malformed, no_community, attempts_exhausted, no_handler, panic, worker_killed or, of earlier versions, handler_error."`
	Community *string `placeholder:"ID" help:"Only dead letters of this community, by the ID that their messages carry."`
}

func (f *deadLetterFilter) filter() (q deadletter.Filter, err error) {
	const empty = `""` // refused like any other unknown name
	if f.Stream != nil {
		q.Stream = cmp.Or(*f.Stream, empty)
	}
	if f.Reason != nil {
		q.Reason = contract.Reason(cmp.Or(*f.Reason, empty))
	}
	if f.Community != nil {
		q.Community = cmp.Or(*f.Community, empty)
	}
	return q, q.Validate()
}

// howMany returns a text such as "3 dead letters of COMMANDS with reason panic".
func howMany(n uint64, q deadletter.Filter) string {
	s := strconv.FormatUint(n, 10) + " dead letter"
	if n != 1 {
		s += "s"
	}
	if q.Stream != "" {
		s += " of " + q.Stream
	}
	if q.Community != "" {
		s += " of community " + q.Community
	}
	if q.Reason != "" {
		s += " with reason " + string(q.Reason)
	}
	return s
}

type dlqListCmd struct {
	deadLetterFilter
	Limit  int    `default:"100" max:"1000" help:"How many dead letters to list at most."`
	Order  string `default:"oldest" placeholder:"ORDER" help:"Which come first: oldest or newest."`
	Cursor string `placeholder:"CURSOR" help:"Cursor that the previous list ended with, for the next page in the same order."`
	natsFlags
}

func (*dlqListCmd) Help() string {
	return `A message that cannot be decoded, or whose handler failed for good, is kept as a dead letter for 30 days, up to a gigabyte of them. ` +
		`"arrakis dlq show <seq>" shows one with its headers and body.`
}

func (c *dlqListCmd) Run(ctx context.Context, p process) error {
	filter, errFilter := c.filter()
	cursor, errCursor := view.ParseNext(c.Cursor)
	q := deadletter.Query{Filter: filter, Order: deadletter.Order(cmp.Or(c.Order, `""`)), Cursor: cursor, Limit: c.Limit}
	if errFilter == nil {
		errFilter = q.Validate()
	}
	if err := errors.Join(errFilter, errCursor); err != nil {
		return usageError{err}
	}
	return c.withDeadLetters(func(store *deadletter.Store) error {
		page, err := listAll(ctx, store, q)
		if err != nil {
			return err
		}
		document := view.NewDeadLetters(page)
		return c.print(p.stdout, document, func(t *table) {
			if len(page.Entries) == 0 {
				t.row(howMany(0, filter))
				return
			}
			deadLetterTable(t, page.Entries)
			if document.Next != "" {
				t.row("there are more: --cursor " + document.Next)
			}
		})
	})
}

// listAll lists until it has as many as q asks for, where a page is short because few of many are of a community.
func listAll(ctx context.Context, store *deadletter.Store, q deadletter.Query) (all deadletter.Page, err error) {
	for rest := q; ; {
		page, err := store.List(ctx, rest)
		if err != nil {
			return all, err
		}
		all.Entries, all.Next = append(all.Entries, page.Entries...), page.Next
		rest.Cursor, rest.Limit = page.Next, q.Limit-len(all.Entries)
		if page.Next == 0 || rest.Limit == 0 || q.Community == "" {
			return all, nil
		}
	}
}

// deadLetterTable fits into 80 columns: the column of errors gets the width that the other columns leave.
func deadLetterTable(t *table, entries []deadletter.Entry) {
	rows := [][]string{{"SEQ", "STORED (UTC)", "STREAM", "REASON", "COMMUNITY", "ERROR"}}
	for _, l := range entries {
		rows = append(rows, []string{
			strconv.FormatUint(l.Seq, 10), l.Time.UTC().Format("Jan 02 15:04"), clip(cmp.Or(l.Stream, "-"), len(contract.StreamEligibility)),
			clip(cmp.Or(string(l.Reason), "-"), len(contract.ReasonAttemptsExhausted)), clip(cmp.Or(l.Community, "-"), 19), l.Error,
		})
	}
	fit(rows)
	for _, row := range rows {
		t.row(row...)
	}
}

type dlqShowCmd struct {
	Seq string `arg:"" help:"Number of the dead letter, as the list shows it."`
	natsFlags
}

func (c *dlqShowCmd) Run(ctx context.Context, p process) error {
	seq, err := view.ParseSeq(c.Seq)
	if err != nil {
		return usageError{err}
	}
	return c.withDeadLetters(func(store *deadletter.Store) error {
		entry, err := store.Get(ctx, seq)
		if err != nil {
			return err
		}
		return c.print(p.stdout, entry, func(t *table) { showDeadLetter(t, &entry) })
	})
}

func showDeadLetter(t *table, l *deadletter.Entry) {
	t.row("dead letter", strconv.FormatUint(l.Seq, 10))
	t.row("stored", when(l.Time))
	t.row("reason", string(l.Reason))
	t.row("error", l.Error)
	t.row("attempts", strconv.Itoa(l.Attempts))
	t.row("subject", l.Subject)
	t.row("stream", fmt.Sprintf("%s, message %d", cmp.Or(l.Stream, "-"), l.Sequence))
	t.row("community", cmp.Or(l.Community, "-"))
	t.row("event", cmp.Or(l.EventID, "-"))
	shown := []string{
		contract.HeaderReason, contract.HeaderError, contract.HeaderAttempts, contract.HeaderSubject, contract.HeaderStream, contract.HeaderSequence,
	}
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		for _, value := range l.Headers[name] {
			if !slices.Contains(shown, name) {
				t.row("header", name+": "+value)
			}
		}
	}
	if l.BodyBase64 != nil {
		t.row("body", strconv.Itoa(len(l.BodyBase64))+" bytes, quoted because they are not UTF-8")
		t.row(strconv.Quote(string(l.BodyBase64)))
		return
	}
	t.row("body", strconv.Itoa(len(l.Body))+" bytes")
	for line := range strings.Lines(l.Body) {
		t.row(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    "))
	}
}
