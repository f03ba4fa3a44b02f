package report

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Bar is one bar of a plot: the median, with a line from the least to the greatest value.
type Bar struct {
	Name   string
	Values Series
}

// spans are the values of bars as plotter wants them.
type spans []Bar

// Len is the number of bars.
func (s spans) Len() int { return len(s) }

// XY is where the top of a bar is.
func (s spans) XY(i int) (x, y float64) { return float64(i), s[i].Values.Median() }

// YError is how far the values reach below and above it.
func (s spans) YError(i int) (below, above float64) {
	v := s[i].Values
	return v.Median() - v.Min(), v.Max() - v.Median()
}

// barColour is a blue that is seen on light and dark pages.
var barColour = color.RGBA{R: 0x3b, G: 0x7d, B: 0xc4, A: 0xff}

// PlotBars writes bars to a file, an SVG for a name that ends so.
func PlotBars(path, title, unit string, bars []Bar) error {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text = title, unit
	p.Title.Padding, p.Y.Min = vg.Points(8), 0
	p.BackgroundColor = color.White
	p.Y.Tick.Marker = thousands{}
	heights := make(plotter.Values, len(bars))
	names := make([]string, len(bars))
	for i, b := range bars {
		heights[i], names[i] = b.Values.Median(), b.Name
	}
	chart, err := plotter.NewBarChart(heights, vg.Points(36))
	if err != nil {
		return fmt.Errorf("plot %s: %w", title, err)
	}
	chart.Color, chart.LineStyle.Width = barColour, 0
	whiskers, err := plotter.NewYErrorBars(spans(bars))
	if err != nil {
		return fmt.Errorf("plot %s: %w", title, err)
	}
	p.Add(plotter.NewGrid(), chart, whiskers)
	p.NominalX(names...)
	width := vg.Points(max(360, 110*float64(len(bars))))
	if err := p.Save(width, vg.Points(260), path); err != nil {
		return fmt.Errorf("plot %s: %w", title, err)
	}
	return nil
}

// thousands labels ticks as tables show numbers.
type thousands struct{}

// Ticks implements plot.Ticker.
func (thousands) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = Decimal(ticks[i].Value)
		}
	}
	return ticks
}
