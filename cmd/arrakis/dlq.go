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
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/streams"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"List dead letters, the oldest first."`
	Show   dlqShowCmd   `cmd:"" help:"Show all of one dead letter."`
	Replay dlqReplayCmd `cmd:"" help:"Put dead letters back where they came from."`
	Purge  dlqPurgeCmd  `cmd:"" help:"Delete dead letters for good."`
}

// letterFlags belong to all of them.
type letterFlags struct {
	outputFlags
	natsSettings
}

func (f *letterFlags) validate(process) error { return f.natsSettings.validate() }

// withLetters runs do with the dead letters of NATS.
func (f *letterFlags) withLetters(do func(*deadletter.Store) error) error {
	nc, err := connectNATS(&f.natsSettings)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return letterError(do(deadletter.New(js)))
}

// letterError says what to do about an error of dead letters.
func letterError(err error) error {
	var refused *deadletter.RefusedError
	switch {
	case errors.Is(err, deadletter.ErrNotFound):
		return fmt.Errorf("%w: it was replayed or purged, has become too old or was never there; `arrakis dlq list` shows those that are", err)
	case errors.As(err, &refused):
		return fmt.Errorf("%w; `arrakis dlq show %d` shows its body, to send again by other means", err, refused.Seq)
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("%w: run a worker (`arrakis serve`), which creates the streams, or `arrakis provision --apply`", err)
	default:
		return streams.Explain(err)
	}
}

// parseSeq reads a sequence, and says what is wrong in the admin API's words.
func parseSeq(s string) (uint64, error) {
	seq, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("seq: %.64q must be the number of a dead letter, as the list has it", s)
	}
	return seq, nil
}

// letterFilter is nil where nothing was given: a script's empty variable must
// not become all dead letters.
type letterFilter struct {
	Stream *string `placeholder:"STREAM" help:"Only those of a stream: COMMANDS, EVENTS or ELIGIBILITY."`
	Reason *string `placeholder:"REASON" help:"Only those with a reason: malformed, no_community, handler_error, attempts_exhausted or panic."`
}

func (f *letterFilter) query() (q deadletter.Query, err error) {
	const empty = `""` // refused like any other name that is none
	if f.Stream != nil {
		q.Stream = cmp.Or(*f.Stream, empty)
	}
	if f.Reason != nil {
		q.Reason = contract.Reason(cmp.Or(*f.Reason, empty))
	}
	return q, q.Validate()
}

// some is "3 dead letters of COMMANDS with reason panic".
func some(n uint64, q deadletter.Query) string {
	s := strconv.FormatUint(n, 10) + " dead letter"
	if n != 1 {
		s += "s"
	}
	if q.Stream != "" {
		s += " of " + q.Stream
	}
	if q.Reason != "" {
		s += " with reason " + string(q.Reason)
	}
	return s
}

type dlqListCmd struct {
	letterFilter
	Limit  int    `default:"100" max:"1000" help:"Dead letters to list at most."`
	Cursor string `placeholder:"CURSOR" help:"Where the list before this one ended."`
	letterFlags
}

func (*dlqListCmd) Help() string {
	return `A message that cannot be decoded, or whose handler failed for good, is kept as a dead letter for 30 days, up to a gigabyte of them. ` +
		`"arrakis dlq show <seq>" tells all of one.`
}

func (c *dlqListCmd) Run(ctx context.Context, p process) error {
	q, err := c.query()
	q.Limit = c.Limit
	if c.Cursor != "" {
		var bad error
		if q.After, bad = strconv.ParseUint(c.Cursor, 10, 64); bad != nil { // in the admin API's words
			err = errors.Join(err, errors.New("cursor: is not one that a list has returned; list again from the start"))
		}
	}
	if err != nil {
		return usageError{err}
	}
	return c.withLetters(func(letters *deadletter.Store) error {
		page, err := letters.List(ctx, q)
		if err != nil {
			return err
		}
		cursor := ""
		if page.Next > 0 {
			cursor = strconv.FormatUint(page.Next, 10)
		}
		document := struct {
			Letters []deadletter.Entry `json:"deadletters"`
			Cursor  string             `json:"cursor,omitempty"`
		}{append([]deadletter.Entry{}, page.Entries...), cursor} // [], not null
		return c.print(p.stdout, document, func(t *table) {
			if len(page.Entries) == 0 {
				t.row(some(0, q))
				return
			}
			letterTable(t, page.Entries)
			if cursor != "" {
				t.row("there are more: --cursor " + cursor)
			}
		})
	})
}

// letterTable fits 80 columns: errors have what the others leave.
func letterTable(t *table, letters []deadletter.Entry) {
	rows := [][]string{{"SEQ", "STORED (UTC)", "STREAM", "REASON", "COMMUNITY", "ERROR"}}
	for _, l := range letters {
		rows = append(rows, []string{
			strconv.FormatUint(l.Seq, 10), l.Time.UTC().Format("Jan 02 15:04"), cut(cmp.Or(l.Stream, "-"), len(contract.StreamEligibility)),
			cut(cmp.Or(string(l.Reason), "-"), len(contract.ReasonAttemptsExhausted)), cut(cmp.Or(l.Community, "-"), 19), l.Error,
		})
	}
	last, room := len(rows[0])-1, 80
	for column := range last {
		widest := 0
		for _, row := range rows {
			widest = max(widest, utf8.RuneCountInString(row[column]))
		}
		room -= widest + 2
	}
	for _, row := range rows {
		row[last] = cut(row[last], room)
		t.row(row...)
	}
}

// cut is s in at most n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	if n < 1 {
		return ""
	}
	return string([]rune(s)[:n-1]) + "…"
}

type dlqShowCmd struct {
	Seq string `arg:"" help:"Its number, as the list has it."`
	letterFlags
}

func (c *dlqShowCmd) Run(ctx context.Context, p process) error {
	seq, err := parseSeq(c.Seq)
	if err != nil {
		return usageError{err}
	}
	return c.withLetters(func(letters *deadletter.Store) error {
		letter, err := letters.Get(ctx, seq)
		if err != nil {
			return err
		}
		return c.print(p.stdout, letter, func(t *table) { showLetter(t, &letter) })
	})
}

func showLetter(t *table, l *deadletter.Entry) {
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

type dlqReplayCmd struct {
	Seqs []string `arg:"" name:"seq" help:"Their numbers, as the list has them."`
	letterFlags
}

func (*dlqReplayCmd) Help() string {
	return `Each is published to its original subject and handled like any message: one that fails again becomes a new dead letter. ` +
		`Nobody waits for its reply any more. One that cannot be replayed does not keep the others from it.`
}

func (c *dlqReplayCmd) Run(ctx context.Context, p process) error {
	seqs, errs := make([]uint64, len(c.Seqs)), make([]error, len(c.Seqs))
	for i, s := range c.Seqs {
		seqs[i], errs[i] = parseSeq(s)
	}
	if err := errors.Join(errs...); err != nil {
		return usageError{err}
	}
	var failed error
	err := c.withLetters(func(letters *deadletter.Store) error {
		var replayed []deadletter.Replayed
		replayed, failed = replayAll(ctx, letters, seqs)
		return c.print(p.stdout, map[string]any{"replayed": replayed}, func(t *table) {
			for _, r := range replayed {
				what := fmt.Sprintf("replayed %d to %s: it is message %d of %s", r.Seq, r.Subject, r.Sequence, r.Stream)
				if r.Duplicate {
					what += " since an earlier replay"
				}
				t.row(what)
			}
		})
	})
	return errors.Join(failed, err)
}

// replayAll goes on after a letter that is gone or cannot be put back, and
// stops at any other error, which the next one would have too.
func replayAll(ctx context.Context, letters *deadletter.Store, seqs []uint64) ([]deadletter.Replayed, error) {
	replayed, errs := []deadletter.Replayed{}, []error{}
	for _, seq := range seqs {
		done, err := letters.Replay(ctx, seq)
		if err == nil {
			replayed = append(replayed, done)
			continue
		}
		errs = append(errs, letterError(err))
		var refused *deadletter.RefusedError
		if !errors.Is(err, deadletter.ErrNotFound) && !errors.As(err, &refused) {
			break
		}
	}
	return replayed, errors.Join(errs...)
}

type dlqPurgeCmd struct {
	letterFilter
	Yes bool `help:"Delete them. Without it they are only counted, and the exit code is 2."`
	letterFlags
}

func (*dlqPurgeCmd) Help() string {
	return `Without --stream and --reason it deletes all dead letters. What becomes one meanwhile stays.`
}

func (c *dlqPurgeCmd) Run(ctx context.Context, p process) error {
	q, err := c.query()
	if err != nil {
		return usageError{err}
	}
	return c.withLetters(func(letters *deadletter.Store) error {
		count := letters.Count
		if c.Yes {
			count = letters.Purge
		}
		n, err := count(ctx, q.Stream, q.Reason)
		if err != nil {
			return err
		}
		if !c.Yes {
			return usageError{fmt.Errorf("this would delete %s: add --yes to do it", some(n, q))}
		}
		return c.print(p.stdout, map[string]uint64{"purged": n}, func(t *table) { t.row("deleted " + some(n, q)) })
	})
}
