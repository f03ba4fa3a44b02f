// Package report is what a benchmark says at its end: tables for a terminal and for Markdown, targets that are met or
// missed, and plots.
package report

import (
	"fmt"
	"slices"
	"strings"
)

// Series is what the runs of one contender measured, in the order of the runs.
type Series []float64

// Median is the middle value, the mean of the middle two, or 0 for none.
func (s Series) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Min is the least value, or 0 for none.
func (s Series) Min() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Min(s)
}

// Max is the greatest value, or 0 for none.
func (s Series) Max() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Max(s)
}

// Over is the ratio of s to other, run by run: what both share in one round, such as other work of the machine, does
// not show in it.
func (s Series) Over(other Series) Series {
	ratios := make(Series, 0, len(s))
	for i, v := range s {
		if i < len(other) && other[i] != 0 {
			ratios = append(ratios, v/other[i])
		}
	}
	return ratios
}

// Spread is the least and the greatest value, as format shows them.
func (s Series) Spread(format func(float64) string) string {
	return format(s.Min()) + " .. " + format(s.Max())
}

// Count shows a whole number with its thousands apart.
func Count(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Decimal shows a number with up to two decimals, fewer the larger it is.
func Decimal(v float64) string {
	switch {
	case v >= 1_000:
		return Count(v)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
