package program

import (
	"fmt"
	"io"
	"strings"
)

// Printer writes lines, and tables of Markdown, which are tables on a terminal too. It keeps the first error.
type Printer struct {
	W   io.Writer
	Err error
}

// Line writes one line.
func (p *Printer) Line(format string, args ...any) {
	if p.Err == nil {
		_, p.Err = fmt.Fprintf(p.W, format+"\n", args...)
	}
}

// Table writes rows with aligned columns; the first is the header.
func (p *Printer) Table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for i, row := range rows {
		cells, rule := make([]string, len(row)), make([]string, len(row))
		for j, cell := range row {
			cells[j], rule[j] = fmt.Sprintf("%-*s", widths[j], cell), strings.Repeat("-", widths[j])
		}
		p.Line("| %s |", strings.Join(cells, " | "))
		if i == 0 {
			p.Line("| %s |", strings.Join(rule, " | "))
		}
	}
}
