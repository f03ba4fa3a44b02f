package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// outputFlags are the flags of every command that prints data.
type outputFlags struct {
	JSON bool `name:"json" help:"Print JSON, for programs."`
}

// print writes v as JSON, or calls table to write it for people.
func (f outputFlags) print(w io.Writer, v any, table func(t *table)) error {
	var b bytes.Buffer
	if f.JSON {
		// Headers of dead letters may hold any bytes.
		err := json.MarshalWrite(&b, v, json.Deterministic(true), jsontext.WithIndent("  "), jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return err
		}
		b.WriteByte('\n')
	} else {
		t := newTable(&b)
		table(t)
		t.flush()
	}
	_, err := w.Write(b.Bytes())
	return err
}

// table lays out rows of cells in columns.
type table struct{ w *tabwriter.Writer }

func newTable(b *bytes.Buffer) *table {
	return &table{tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.DiscardEmptyColumns)}
}

// row adds a row. It replaces control characters, because a cell may hold text from outside, and control characters
// must not reach the terminal.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.Map(printable, c)
	}
	// The writer is a buffer, which never fails.
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() { _ = t.w.Flush() } // writes to a buffer, which never fails

func printable(r rune) rune {
	if r < ' ' || r >= 0x7f && r < 0xa0 {
		return '?'
	}
	return r
}

// count returns a limit, or a number of remaining permits, as text.
func count(n int64) string {
	if n < 0 {
		return "unlimited"
	}
	return strconv.FormatInt(n, 10)
}

// short returns d as people write it, such as 1m, 24h or 15s. A duration of a second or more is rounded up to whole
// seconds.
func short(d time.Duration) string {
	if d >= time.Second {
		d = (d + time.Second - 1).Truncate(time.Second)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// list joins names for people. Without names it returns "none".
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// when returns a time for people. For the zero time it returns "-".
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
