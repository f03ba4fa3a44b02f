package report

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Distribution is one line of a plot: what share of the values is as large or larger.
type Distribution struct {
	Name   string
	Values Series
}

const (
	// leastShown is the smallest value that a logarithmic axis shows.
	leastShown = 0.01
	// mostPoints bounds the points of a line, about.
	mostPoints = 300
	// legendWidth is the room for the names, right of the plot.
	legendWidth = 190
)

// lineColours differ in brightness, too, and are seen on light and dark pages.
var lineColours = []color.Color{
	barColour,
	color.RGBA{R: 0xd9, G: 0x6b, B: 0x16, A: 0xff},
	color.RGBA{R: 0x1d, G: 0x8a, B: 0x5b, A: 0xff},
	color.RGBA{R: 0x8a, G: 0x4f, B: 0xa3, A: 0xff},
	color.RGBA{R: 0x77, G: 0x77, B: 0x77, A: 0xff},
}

// PlotDistributions writes lines to a file, an SVG for a name that ends so. Both axes are logarithmic, so that the
// largest values are seen as well as the usual ones.
func PlotDistributions(path, title, unit string, all []Distribution) error {
	p, legend := plot.New(), plot.NewLegend()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, unit, "share that took as long or longer"
	p.Title.Padding, p.BackgroundColor = vg.Points(8), color.White
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	legend.Top, legend.Left, legend.Padding = true, true, vg.Points(4)
	p.Add(plotter.NewGrid())
	for i, d := range all {
		if len(d.Values) == 0 {
			continue
		}
		line, err := plotter.NewLine(tail(d.Values))
		if err != nil {
			return fmt.Errorf("plot %s: %w", title, err)
		}
		line.Color, line.Width = lineColours[i%len(lineColours)], vg.Points(1.5)
		if i > 0 {
			line.Dashes = []vg.Length{vg.Points(float64(2 + 2*i)), vg.Points(2)}
		}
		p.Add(line)
		legend.Add(d.Name, line)
	}
	canvas, err := draw.NewFormattedCanvas(vg.Points(480+legendWidth), vg.Points(320), strings.TrimPrefix(filepath.Ext(path), "."))
	if err != nil {
		return fmt.Errorf("plot %s: %w", title, err)
	}
	c := draw.New(canvas)
	c.FillPolygon(color.White, []vg.Point{{}, {X: c.Max.X}, c.Max, {Y: c.Max.Y}})
	p.Draw(draw.Crop(c, 0, -vg.Points(legendWidth), 0, 0))
	legend.Draw(draw.Crop(c, vg.Points(480+8), 0, 0, -vg.Points(32)))
	f, err := os.Create(path) //nolint:gosec // where the user asked for it
	if err != nil {
		return fmt.Errorf("plot %s: %w", title, err)
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

// tail are the points of a line, as powers of ten: for each value the share of those as large or larger. Of the smaller
// ones, of which there are many, some are left out.
func tail(values Series) plotter.XYs {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	var points plotter.XYs
	for i, v := range sorted {
		if left := n - i; left <= mostPoints/2 || i%(n/mostPoints*2+1) == 0 {
			points = append(points, plotter.XY{X: math.Log10(max(v, leastShown)), Y: math.Log10(float64(left) / float64(n))})
		}
	}
	return points
}

// decades are the ticks of an axis of powers of ten. The labels of plot.LogScale would be off their places.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	for power := math.Floor(least); power <= most; power++ {
		for digit := 1.0; digit < 10; digit++ {
			tick := plot.Tick{Value: power + math.Log10(digit)}
			if digit == 1 {
				tick.Label = fmt.Sprintf("%g", math.Pow(10, power))
			}
			if tick.Value >= least && tick.Value <= most {
				ticks = append(ticks, tick)
			}
		}
	}
	return ticks
}
