package tenant

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	// AnyLocale is the name in [Texts] of the texts for all locales that have none of their own.
	AnyLocale = "*"

	maxLocales = 20
	maxText    = 1000 // bytes
)

// Texts replace texts that users of Discord see: by locale, as Discord names it, or [AnyLocale], and by the key of the
// text. A language, such as pt, is a locale too: of its locales that have none of their own. Package pipeline/discord has
// the texts that they replace, and says what may stand in braces in each.
type Texts map[string]map[string]string

// TextKeys are the keys of the texts that can be replaced.
var TextKeys = []string{
	"rate_limited", "user_limited", "limit_zero", "refused", "error", "expired", "busy", "unavailable", "no_handler", "done",
}

var localePattern = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,4})?$`)

func (t Texts) validate(f *faults, field string) {
	if len(t) > maxLocales {
		f.add(field, "has %d locales, at most %d are accepted", len(t), maxLocales)
	}
	for _, locale := range slices.Sorted(maps.Keys(t)) {
		at := join(field, shorten(locale))
		if locale != AnyLocale && !localePattern.MatchString(locale) {
			f.add(at, "is no locale of Discord, such as de or en-US, and not %s for all", AnyLocale)
		}
		for _, key := range slices.Sorted(maps.Keys(t[locale])) {
			switch text := t[locale][key]; {
			case !slices.Contains(TextKeys, key):
				f.add(join(at, shorten(key)), "is unknown; known are %s", strings.Join(TextKeys, ", "))
			case text == "" || len(text) > maxText:
				f.add(join(at, key), "must be 1 to %d bytes", maxText)
			}
		}
	}
}
