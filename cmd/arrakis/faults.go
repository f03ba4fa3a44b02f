package main

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// choice is a string with one of the values that the tag oneof lists. The empty string is a value only if it is the
// default.
type choice string

// durations is a list of durations, comma-separated. Their order and number are free.
type durations string

// list is the list. It is empty if d was not checked.
func (d durations) list() []time.Duration {
	list, _ := splitDurations(string(d), 0, math.MaxInt64) // the mapper has checked them
	return list
}

// faults collects the faults of flags and settings, so that one run reports all of them.
type faults struct {
	errs  []error
	named map[string]bool // flags that have a fault already
}

// add adds a fault that does not belong to a single flag. It ignores nil.
func (f *faults) add(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

func (f *faults) err() error { return errors.Join(f.errs...) }

// mappers make kong parse the values of int, time.Duration, durations and choice, with the ranges in the tags min, max
// and oneof. A bad value becomes a fault and not an error, because kong would stop at an error. The fault repeats the value,
// unless the tag unquoted says that it may be a secret, given to the wrong setting.
func (f *faults) mappers() kong.Option {
	return kong.OptionFunc(func(k *kong.Kong) error {
		return errors.Join(
			kong.TypeMapper(reflect.TypeFor[int](), f.mapper(parseInt)).Apply(k),
			kong.TypeMapper(reflect.TypeFor[time.Duration](), f.mapper(parseDuration)).Apply(k),
			kong.TypeMapper(reflect.TypeFor[durations](), f.mapper(parseDurations)).Apply(k),
			kong.TypeMapper(reflect.TypeFor[choice](), f.mapper(parseChoice)).Apply(k),
		)
	})
}

func (f *faults) mapper(parse func(raw string, tag *kong.Tag) (any, error)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		var raw string
		if err := ctx.Scan.PopValueInto("a", &raw); err != nil {
			return err
		}
		value, err := parse(raw, ctx.Value.Tag)
		if err != nil {
			if !f.named[ctx.Value.Name] {
				if !ctx.Value.Tag.Has("unquoted") {
					err = fmt.Errorf("is %q: expected %w", raw, err)
				} else {
					err = fmt.Errorf("has another value: expected %w", err)
				}
				f.add(fmt.Errorf("%s %w", settingName(ctx.Value), err))
				if f.named == nil {
					f.named = map[string]bool{}
				}
				f.named[ctx.Value.Name] = true
			}
			if target.Kind() == reflect.String { // so that it does not count as missing, too
				target.SetString(raw)
			}
			return nil
		}
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
		return nil
	}
}

// The parsers return an error that says which values are expected.

func parseInt(raw string, tag *kong.Tag) (any, error) {
	low, high := bounds(tag, 1, 1_000_000_000, strconv.Atoi)
	n, err := strconv.Atoi(raw)
	if err != nil || n < low || n > high {
		return nil, fmt.Errorf("a whole number from %d to %d", low, high)
	}
	return n, nil
}

func parseDuration(raw string, tag *kong.Tag) (any, error) {
	low, high := bounds(tag, time.Millisecond, 24*time.Hour, time.ParseDuration)
	d, err := time.ParseDuration(raw)
	if err != nil || d < low || d > high {
		return nil, fmt.Errorf("a duration with a unit, such as 30s or 5m, from %s to %s", short(low), short(high))
	}
	return d, nil
}

// maxDurations is how many durations a list may have.
const maxDurations = 20

func parseDurations(raw string, tag *kong.Tag) (any, error) {
	low, high := bounds(tag, time.Millisecond, 24*time.Hour, time.ParseDuration)
	if _, err := splitDurations(raw, low, high); err != nil {
		return nil, fmt.Errorf("1 to %d durations with units, comma-separated, such as 1s,5s,1m, each from %s to %s", maxDurations, short(low), short(high))
	}
	return raw, nil
}

func splitDurations(raw string, low, high time.Duration) ([]time.Duration, error) {
	var list []time.Duration
	for _, entry := range commaList(raw) {
		d, err := time.ParseDuration(entry)
		if err != nil || d < low || d > high {
			return nil, errOutOfRange
		}
		list = append(list, d)
	}
	if len(list) == 0 || len(list) > maxDurations {
		return nil, errOutOfRange
	}
	return list, nil
}

var errOutOfRange = errors.New("out of range")

// bounds are the tags min and max, which default to low and high.
func bounds[T any](tag *kong.Tag, low, high T, parse func(string) (T, error)) (T, T) {
	if tag.Has("min") {
		low, _ = parse(tag.Get("min")) // the tag is in this package, and tests check it
	}
	if tag.Has("max") {
		high, _ = parse(tag.Get("max"))
	}
	return low, high
}

func parseChoice(raw string, tag *kong.Tag) (any, error) {
	values := strings.Split(tag.Get("oneof"), ",")
	last := len(values) - 1
	switch {
	case raw == tag.Default, slices.Contains(values, raw):
		return raw, nil
	case last == 0:
		return nil, errors.New(values[0])
	}
	return nil, fmt.Errorf("%s or %s", strings.Join(values[:last], ", "), values[last])
}
