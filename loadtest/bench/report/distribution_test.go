package report

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlotDistributions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shares.svg")
	many := make(Series, 10_000)
	for i := range many {
		many[i] = float64(len(many) - i)
	}
	all := []Distribution{{"alone", Series{0, 1.5, 0.8, 2}}, {"beside", many}, {"nobody", nil}}
	if err := PlotDistributions(path, "Latency", "ms", all); err != nil {
		t.Fatal(err)
	}
	plot, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "Latency", "alone", "beside", "10000"} {
		if !strings.Contains(string(plot), want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
	if strings.Contains(string(plot), "nobody") {
		t.Error("the plot names what it does not show")
	}
	if len(plot) > 64<<10 {
		t.Errorf("the plot has %d bytes", len(plot))
	}
}

func TestTailsEndWithTheLargest(t *testing.T) {
	for _, n := range []int{1, 2, 299, 300, 301, 5_000} {
		values := make(Series, n)
		for i := range values {
			values[i] = float64(i + 1)
		}
		points := tail(values)
		if last := points[len(points)-1]; last.X != math.Log10(float64(n)) || last.Y != math.Log10(1/float64(n)) {
			t.Errorf("%d values end at %+v", n, last)
		}
		if len(points) > 2*mostPoints {
			t.Errorf("%d values have %d points", n, len(points))
		}
	}
}
