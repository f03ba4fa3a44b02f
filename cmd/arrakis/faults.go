package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// choice is a string of which the tag oneof lists the values. The empty string
// is one of them only where it is the default.
type choice string

// faults collects what is wrong with values of flags and settings, so that all
// of it is said at once.
type faults struct {
	errs  []error
	named map[string]bool // flags that have an error already
}

// add takes a fault that concerns no flag in particular; nil is none.
func (f *faults) add(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

func (f *faults) err() error { return errors.Join(f.errs...) }

// mappers make kong parse the values of int, time.Duration and choice, with
// their range in the tags min, max and oneof. A bad one is a fault rather than
// an error, at which kong would stop.
func (f *faults) mappers() kong.Option {
	return kong.OptionFunc(func(k *kong.Kong) error {
		return errors.Join(
			kong.TypeMapper(reflect.TypeFor[int](), f.mapper(parseInt)).Apply(k),
			kong.TypeMapper(reflect.TypeFor[time.Duration](), f.mapper(parseDuration)).Apply(k),
			kong.TypeMapper(reflect.TypeFor[choice](), f.mapper(parseChoice)).Apply(k),
		)
	})
}

func (f *faults) mapper(parse func(raw string, tag *kong.Tag) (any, error)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		var raw string
		if err := ctx.Scan.PopValueInto("value", &raw); err != nil {
			return err
		}
		value, err := parse(raw, ctx.Value.Tag)
		if err != nil {
			if !f.named[ctx.Value.Name] {
				f.add(fmt.Errorf("%s is %q: expected %w", settingName(ctx.Value), raw, err))
				if f.named == nil {
					f.named = map[string]bool{}
				}
				f.named[ctx.Value.Name] = true
			}
			return nil
		}
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
		return nil
	}
}

// The parsers return, as their error, what was expected.

func parseInt(raw string, tag *kong.Tag) (any, error) {
	least, most := 1, 1_000_000_000
	if tag.Has("min") {
		least, _ = strconv.Atoi(tag.Get("min"))
	}
	if tag.Has("max") {
		most, _ = strconv.Atoi(tag.Get("max"))
	}
	n, err := strconv.Atoi(raw)
	if err != nil || n < least || n > most {
		return nil, fmt.Errorf("a whole number from %d to %d", least, most)
	}
	return n, nil
}

func parseDuration(raw string, tag *kong.Tag) (any, error) {
	least, most := time.Millisecond, 24*time.Hour
	if tag.Has("min") {
		least, _ = time.ParseDuration(tag.Get("min"))
	}
	if tag.Has("max") {
		most, _ = time.ParseDuration(tag.Get("max"))
	}
	d, err := time.ParseDuration(raw)
	if err != nil || d < least || d > most {
		return nil, fmt.Errorf("a duration with a unit, such as 30s or 5m, from %s to %s", short(least), short(most))
	}
	return d, nil
}

func parseChoice(raw string, tag *kong.Tag) (any, error) {
	values := strings.Split(tag.Get("oneof"), ",")
	if raw != tag.Default && !slices.Contains(values, raw) {
		return nil, fmt.Errorf("%s or %s", strings.Join(values[:len(values)-1], ", "), values[len(values)-1])
	}
	return raw, nil
}
