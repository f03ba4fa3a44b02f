package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// outputFlags are the flags of every command that prints data.
type outputFlags struct {
	JSON bool `name:"json" help:"Print JSON, for programs."`
}

// print writes v as JSON, or what build makes of it for people.
func (f outputFlags) print(w io.Writer, v any, build func(t *table)) error {
	var b bytes.Buffer
	if f.JSON {
		// Headers of dead letters may hold any bytes.
		err := json.MarshalWrite(&b, v, json.Deterministic(true), jsontext.WithIndent("  "), jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return err
		}
		b.WriteByte('\n')
	} else {
		t := &table{w: &b}
		build(t)
		t.flush()
	}
	_, err := w.Write(b.Bytes())
	return err
}

// width is the number of columns that tables of data of usual length fit into.
const width = 80

// table lays out rows of cells in columns. The last cell of a row may be longer than its column: it has the rest of the
// line. text/tabwriter would end the columns above and below a row that has fewer cells than they.
type table struct {
	w    *bytes.Buffer
	rows [][]string // not written yet
}

// row adds a row. It replaces control characters, because a cell may hold text from outside, and control characters
// must not reach the terminal.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.Map(printable, c)
	}
	t.rows = append(t.rows, cells)
}

// listRow adds a row with a list of names, or as many rows as it takes to fit into the width behind a label of 19
// columns.
func (t *table) listRow(label string, names []string) {
	const room = width - 19
	line := ""
	for i, name := range names {
		if i < len(names)-1 {
			name += ","
		}
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(name) > room {
			t.row(label, line)
			label, line = "", ""
		}
		line = strings.TrimLeft(line+" "+name, " ")
	}
	t.row(label, cmp.Or(line, list(nil)))
}

// flush writes the rows. The rows that follow have columns of their own.
func (t *table) flush() {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row[:len(row)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row[:len(row)-1] {
			fmt.Fprintf(&line, "%-*s  ", widths[i], cell)
		}
		text := line.String() + row[len(row)-1]
		if row[len(row)-1] == "" {
			text = strings.TrimRight(text, " ")
		}
		t.w.WriteString(text + "\n")
	}
	t.rows = nil
}

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
