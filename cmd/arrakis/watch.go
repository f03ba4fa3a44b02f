package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/term"

	"arrakis/pipeline/fleet"
	"arrakis/pipeline/view"
)

// watchInterval is the time between two states that are shown, as long as between two heartbeats of a worker.
const watchInterval = fleet.Interval

// watch shows the fleet again and again until ctx ends, which is no error.
func (c *statusCmd) watch(ctx context.Context, w io.Writer, watcher *fleet.Watcher) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	screen := newScreen(w)
	var last time.Time
	err := watcher.Run(ctx, func(s *fleet.State) {
		if ctx.Err() != nil || !last.IsZero() && s.At.Sub(last) < watchInterval-watchInterval/8 {
			return
		}
		last = s.At
		if err := c.show(screen, view.NewFleet(s)); err != nil {
			cancel(err) // whoever reads is gone
		}
	})
	if err == nil && context.Cause(ctx) != context.Canceled { //nolint:errorlint // what cancel was given, if it was
		err = context.Cause(ctx)
	}
	return err
}

// show shows one state.
func (c *statusCmd) show(s *screen, f *view.Fleet) error {
	var b bytes.Buffer
	if c.JSON {
		if err := json.MarshalWrite(&b, f, json.Deterministic(true), jsontext.AllowInvalidUTF8(true)); err != nil {
			return err
		}
		b.WriteByte('\n')
		_, err := s.w.Write(b.Bytes())
		return err
	}
	t := &table{w: &b}
	t.row(f.At.Local().Format(time.TimeOnly), "every 2 s; Ctrl-C ends")
	t.flush()
	t.row("")
	fleetTables(t, f)
	t.flush()
	return s.show(b.String())
}

// screen shows texts one after the other. On a terminal each takes the place of the one before.
type screen struct {
	w    io.Writer
	size func() (columns, lines int, err error) // nil if w is no terminal
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.size = func() (columns, lines int, err error) { return term.GetSize(int(f.Fd())) }
	}
	return s
}

// show shows text. What does not fit on a terminal is cut, because lines that wrap or scroll would move the rest.
func (s *screen) show(text string) error {
	if s.size == nil {
		_, err := io.WriteString(s.w, text+"\n")
		return err
	}
	const (
		home, clearLine, clearBelow = "\x1b[H", "\x1b[K", "\x1b[J"
		least                       = 5
	)
	columns, height, err := s.size()
	if err != nil || columns < least || height < least {
		columns, height = width, 24
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if more := len(lines) - (height - 1); more > 0 {
		lines = append(lines[:height-2], fmt.Sprintf("… %d more lines: enlarge the terminal", more+1))
	}
	var out strings.Builder
	out.WriteString(home)
	for _, line := range lines {
		out.WriteString(clip(line, columns) + clearLine + "\n")
	}
	out.WriteString(clearBelow)
	_, err = io.WriteString(s.w, out.String())
	return err
}
