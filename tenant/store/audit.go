package store

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

const (
	// AuditKey is the key of the audit log, a stream.
	AuditKey = "arrakis:audit"
	// AuditKept is how many entries the audit log keeps, and up to a hundred more. They take up to 105 MB of Redis's memory.
	AuditKept = 10_000
	// MaxAudited is how many bytes of a document an entry keeps.
	MaxAudited = 4 << 10

	recordPause = 250 * time.Millisecond // between two tries to add an entry

	auditScan   = 200  // entries of one XREVRANGE
	maxScanned  = 2000 // entries that one page with a filter looks at
	auditTarget = "target"
	auditFrom   = "from" // every entry has it, but for those of earlier versions
)

// AuditType says what kind of change an entry is about.
type AuditType string

// The kinds of changes. All but the last two are made by a [Store], which records them itself.
const (
	AuditTenant  AuditType = "tenant"
	AuditAccount AuditType = "account"
	AuditFlag    AuditType = "flag"
	AuditTiers   AuditType = "tiers"
	AuditReset   AuditType = "reset"  // of used limits
	AuditReload  AuditType = "reload" // every process was told to read again
	AuditReplay  AuditType = "replay" // of dead letters
	AuditPurge   AuditType = "purge"  // of dead letters
)

// AuditTypes are all kinds.
var AuditTypes = []AuditType{AuditTenant, AuditAccount, AuditFlag, AuditTiers, AuditReset, AuditReload, AuditReplay, AuditPurge}

// AuditEntry says who has changed what. The documents are without the members of other writers.
type AuditEntry struct {
	ID     string    // place in the log, set by Record
	At     time.Time // by the clock of Redis, set by Record
	Type   AuditType
	Target string // ID of the tenant, the account, the flag or the dead letter; of a reset, that of the limits; may be empty
	Origin        // of the context; its Actor is the Source if the context has none; set by Record
	Source string // of the store that made the change; set by Record
	Before AuditText
	After  AuditText
}

// AuditText is a document as JSON. The zero value means that there is none: before a document is created, and after it
// is deleted.
type AuditText struct {
	Text string // in a page of the log, the first MaxAudited bytes
	Size int    // bytes of the whole document
}

// Clip returns what a page has of the document.
func (t AuditText) Clip() AuditText {
	c := clipped(t.Text)
	c.Size = max(c.Size, t.Size)
	return c
}

// JSON is the document, or a string if it is not valid JSON or a part of it is missing; "" if there is none.
func (t AuditText) JSON() string {
	if t.Text == "" || !t.Clipped() && jsontext.Value(t.Text).IsValid() {
		return t.Text
	}
	quoted, err := jsontext.AppendQuote(nil, strings.ToValidUTF8(t.Text, ""))
	if err != nil {
		return `""` // AppendQuote refuses only what is not UTF-8
	}
	return string(quoted)
}

// Clipped reports whether a part of the document is missing.
func (t AuditText) Clipped() bool { return t.Size > len(t.Text) }

// NewAuditText returns the document as an entry keeps it. The document must not hold secrets. NewAuditText panics if
// the document cannot be encoded as JSON.
func NewAuditText(document any) AuditText {
	text, err := json.Marshal(document, json.Deterministic(true))
	if err != nil {
		panic(fmt.Sprintf("store: a document for the audit log cannot be encoded: %v", err))
	}
	return AuditText{Text: string(text), Size: len(text)}
}

// clipped returns what a page of the log, and all of the log in Redis, has of a document.
func clipped(text string) AuditText {
	return AuditText{Text: strings.ToValidUTF8(text[:min(len(text), MaxAudited)], ""), Size: len(text)}
}

// shown returns the whole of a stored document, without the members that known leaves out. A document that cannot be used
// may hold anything, so nothing but its size is shown of it.
func shown[T document](text string, known func(*T) *T) AuditText {
	if text == "" {
		return AuditText{}
	}
	doc, err := tenant.ParseStored[T]([]byte(text))
	if err != nil {
		return NewAuditText(fmt.Sprintf("%d bytes that cannot be used", len(text)))
	}
	return NewAuditText(known(&doc))
}

// signed is an entry with who makes the change, by ctx.
func (s *Store) signed(ctx context.Context, e AuditEntry) AuditEntry {
	e.Origin, e.Source = OriginOf(ctx), s.source
	e.Actor = cmp.Or(e.Actor, s.source)
	return e
}

// Record adds an entry for a change that is not made by this store, such as a replay of dead letters. The change is done
// already, so Record tries until ctx ends, which should be soon. An entry whose answer was lost is added twice.
func (s *Store) Record(ctx context.Context, e AuditEntry) error {
	for {
		err := s.record(ctx, s.rdb, e).Err()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("add to the audit log: %w", err)
		case <-time.After(recordPause):
		}
	}
}

// record adds an entry on the given connection, such as a transaction's pipeline. The ID that Redis gives the entry has
// the time of Redis.
func (s *Store) record(ctx context.Context, rdb redis.Cmdable, e AuditEntry) *redis.StringCmd {
	e = s.signed(ctx, e)
	values := []any{
		"type", string(e.Type), auditTarget, e.Target,
		"actor", e.Actor, auditFrom, e.From, "request_id", e.RequestID, "source", e.Source,
	}
	for _, d := range []struct {
		name string
		AuditText
	}{{"before", e.Before}, {"after", e.After}} {
		if d.Text != "" {
			values = append(values, d.name, clipped(d.Text).Text, d.name+"_size", d.Size)
		}
	}
	return rdb.XAdd(ctx, &redis.XAddArgs{Stream: AuditKey, MaxLen: AuditKept, Approx: true, Values: values})
}

// AuditQuery selects entries. The zero value selects the newest 100.
type AuditQuery struct {
	Targets []string  // only changes of any of these; empty: of all
	Type    AuditType // only changes of this kind; empty: of all
	Since   time.Time // only changes made then or later, to the millisecond; zero: however old
	Cursor  string    // that the previous page returned; empty: from the newest on
	Limit   int       // of entries, up to MaxListLimit; defaults to 100
}

func (q *AuditQuery) validate() error {
	if q.Type != "" && !slices.Contains(AuditTypes, q.Type) {
		return &tenant.FieldError{Field: "type", Reason: fmt.Sprintf("%.64q is unknown; known are %s", q.Type, joinTypes())}
	}
	for _, target := range q.Targets {
		if !utf8.ValidString(target) || strings.Contains(target, "\x00") {
			return &tenant.FieldError{Field: auditTarget, Reason: "must be UTF-8 without a NUL"}
		}
	}
	if q.Cursor != "" && (!auditID.MatchString(q.Cursor) || strings.Trim(q.Cursor, "0-") == "") { // nothing is before 0-0
		return ErrCursor
	}
	return nil
}

func joinTypes() string {
	names := make([]string, len(AuditTypes))
	for i, t := range AuditTypes {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}

func (q *AuditQuery) selects(e *AuditEntry) bool {
	return (q.Type == "" || q.Type == e.Type) && (len(q.Targets) == 0 || slices.Contains(q.Targets, e.Target))
}

// auditID is the ID of an entry of a stream.
var auditID = regexp.MustCompile(`^[0-9]{1,16}-[0-9]{1,16}$`)

// AuditPage is a part of the audit log.
type AuditPage struct {
	Entries []AuditEntry // the newest first
	Cursor  string       // of the next page; empty on the last page
}

// Audit returns a page of the audit log, the newest entry first. A page looks at 2,000 entries at most; so one of few
// matches may be short, or even empty, although more pages follow. Errors: [ErrCursor], [*tenant.FieldError], a
// [*StoredError] if the key is not a stream, [ErrElsewhere] if the log is in a system of record that this store does not
// have, and [ErrAway].
func (s *Store) Audit(ctx context.Context, q AuditQuery) (AuditPage, error) {
	if err := q.validate(); err != nil {
		return AuditPage{}, err
	}
	if s.system != nil {
		return s.system.Audit(ctx, q)
	}
	owner, err := s.Mirror().Owner(ctx)
	if err != nil {
		return AuditPage{}, fmt.Errorf("read the audit log: %w", err)
	}
	if owner != "" && !IsMoving(owner) { // what Redis has is only what waits for PostgreSQL
		return AuditPage{}, elsewhereError{}
	}
	limit := min(cmp.Or(max(q.Limit, 0), 100), MaxListLimit)
	var page AuditPage
	from, to := "+", "-"
	if !q.Since.IsZero() {
		to = strconv.FormatInt(max(0, q.Since.UnixMilli()), 10)
	}
	if q.Cursor != "" {
		from = "(" + q.Cursor
	}
	for range maxScanned / auditScan {
		found, err := s.rdb.XRevRangeN(ctx, AuditKey, from, to, auditScan).Result()
		if redis.HasErrorPrefix(err, wrongType) {
			return AuditPage{}, &StoredError{Key: AuditKey, Err: &tenant.FieldError{Reason: "must be a stream"}}
		}
		if err != nil {
			return AuditPage{}, fmt.Errorf("read the audit log: %w", err)
		}
		for i, m := range found {
			e := auditEntry(m)
			if q.selects(&e) {
				page.Entries = append(page.Entries, e)
			}
			if len(page.Entries) == limit && (i < len(found)-1 || len(found) == auditScan) {
				page.Cursor = m.ID
				return page, nil
			}
		}
		if len(found) < auditScan {
			return page, nil
		}
		page.Cursor = found[len(found)-1].ID
		from = "(" + page.Cursor
	}
	return page, nil
}

// elsewhereError is [ErrElsewhere] for who only reads.
type elsewhereError struct{}

func (elsewhereError) Error() string {
	return "the audit log is kept in PostgreSQL: set POSTGRES_URL, as the workers have it"
}

func (elsewhereError) Is(target error) bool { return target == ErrElsewhere }

// auditEntry reads an entry. Other writers may have put anything into the stream.
func auditEntry(m redis.XMessage) AuditEntry {
	text := func(name string) string {
		s, _ := m.Values[name].(string)
		return s
	}
	document := func(name string) AuditText {
		t := clipped(text(name))
		if size, err := strconv.Atoi(text(name + "_size")); err == nil {
			t.Size = max(t.Size, size)
		}
		return t
	}
	short := func(name string) string { return clipped(text(name)).Text }
	ms, _, _ := strings.Cut(m.ID, "-")
	at, _ := strconv.ParseInt(ms, 10, 64) // Redis has made the ID
	origin := Origin{Actor: short("actor"), From: short(auditFrom), RequestID: short("request_id")}
	if _, ok := m.Values[auditFrom]; !ok {
		origin = legacyOrigin(origin.Actor)
	}
	return AuditEntry{
		ID: m.ID, At: time.UnixMilli(at).UTC(), Type: AuditType(short("type")), Target: short(auditTarget),
		Origin: origin, Source: short("source"), Before: document("before"), After: document("after"),
	}
}
