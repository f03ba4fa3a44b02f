package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Width is how many columns a table has on a terminal at most.
const Width = 100

// Table is one table. The first column is text, the others are numbers.
type Table struct {
	Title   string
	Notes   []string // sentences below it
	Columns []string
	Rows    [][]string
	Plot    string // file name of its plot beside the report; "" for none
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// WriteText writes the table for a terminal.
func (t *Table) WriteText(w io.Writer) error {
	widths := t.widths()
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", t.Title)
	line := func(cells []string) {
		var text strings.Builder
		for i, cell := range cells {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				text.WriteString("  " + cell + pad)
			} else {
				text.WriteString("  " + pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	line(t.Columns)
	for _, row := range t.Rows {
		line(row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// widths are those of the columns.
func (t *Table) widths() []int {
	widths := make([]int, len(t.Columns))
	for _, row := range append([][]string{t.Columns}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// WriteMarkdown writes the table for the report, with its notes and its plot.
func (t *Table) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n", t.Title)
	fmt.Fprintf(&b, "| %s |\n|---|%s\n", strings.Join(t.Columns, " | "), strings.Repeat("---:|", len(t.Columns)-1))
	for _, row := range t.Rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	for _, note := range t.Notes {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	if t.Plot != "" {
		fmt.Fprintf(&b, "\n![%s](%s)\n", t.Title, t.Plot)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
