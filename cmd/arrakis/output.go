package main

import (
	"bytes"
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
	rows []tableRow // not written yet
}

// tableRow is a row of a table.
type tableRow struct {
	cells []string // all but the last
	last  []string // the last cell: one text, or words on as many lines as it takes to fit into the width
}

// row adds a row. It replaces control characters, because a cell may hold text from outside, and control characters
// must not reach the terminal.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = strings.Map(printable, c)
	}
	last := len(cells) - 1
	t.rows = append(t.rows, tableRow{cells: cells[:last], last: cells[last:]})
}

// listRow adds a row with a list of names.
func (t *table) listRow(label string, names []string) {
	if len(names) == 0 {
		t.row(label, list(nil))
		return
	}
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = strings.Map(printable, name) + ","
	}
	words[len(words)-1] = strings.TrimSuffix(words[len(words)-1], ",")
	t.rows = append(t.rows, tableRow{cells: []string{label}, last: words})
}

// words adds a row whose last cell is a text that may take several lines, which break between words.
func (t *table) words(words []string, cells ...string) {
	last := make([]string, len(words))
	for i, word := range words {
		last[i] = strings.Map(printable, word)
	}
	for i, c := range cells {
		cells[i] = strings.Map(printable, c)
	}
	t.rows = append(t.rows, tableRow{cells: cells, last: last})
}

// flush writes the rows. The rows that follow have columns of their own.
func (t *table) flush() {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row.cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var cells strings.Builder
		for i, cell := range row.cells {
			fmt.Fprintf(&cells, "%-*s  ", widths[i], cell)
		}
		head := cells.String()
		indent := utf8.RuneCountInString(head)
		for _, line := range wrap(row.last, width-indent) {
			if line == "" {
				head = strings.TrimRight(head, " ")
			}
			t.w.WriteString(head + line + "\n")
			head = strings.Repeat(" ", indent)
		}
	}
	t.rows = nil
}

// wrap joins words to lines of at most columns columns. A longer word has a line of its own. No words are an empty line.
func wrap(words []string, columns int) []string {
	if len(words) == 0 {
		return []string{""}
	}
	lines := []string{words[0]}
	for _, word := range words[1:] {
		last := &lines[len(lines)-1]
		if utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) > columns {
			lines = append(lines, word)
			continue
		}
		*last += " " + word
	}
	return lines
}

// fit cuts the last cells of a table's rows, so that they fit into the width beside the other columns.
func fit(rows [][]string) {
	last, room := len(rows[0])-1, width
	for column := range last {
		widest := 0
		for _, row := range rows {
			widest = max(widest, utf8.RuneCountInString(row[column]))
		}
		room -= widest + 2
	}
	for _, row := range rows {
		row[last] = clip(row[last], room)
	}
}

// clip cuts s to at most n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	if n < 1 {
		return ""
	}
	return string([]rune(s)[:n-1]) + "…"
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

// shortList returns durations as RETRY_BACKOFF takes them, such as 1s,5s,60s.
func shortList(list []time.Duration) string {
	texts := make([]string, len(list))
	for i, d := range list {
		texts[i] = short(d)
		if d%time.Second == 0 && d <= time.Minute {
			texts[i] = strconv.Itoa(int(d.Seconds())) + "s"
		}
	}
	return strings.Join(texts, ",")
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
