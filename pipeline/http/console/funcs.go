package console

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"arrakis/tenant"
)

// funcs are the functions that templates use.
func (c *console) funcs() template.FuncMap {
	return template.FuncMap{
		"asset": c.assets.path, "path": joinPath, "visible": visible, "id": showID, "tenant": linkTenant,
		"num": number, "rate": rate, "bytes": bytesText, "percent": percent, "share": share,
		"span": span, "ms": func(ms int64) string { return span(time.Duration(ms) * time.Millisecond) }, "since": since, "clock": clock, "use": use,
		"scroll": func(label string) template.HTML {
			return template.HTML(`<div class="scroll" tabindex="0" role="group" aria-label="` + template.HTMLEscapeString(label) + `">`) //nolint:gosec // escaped
		},
		"end_scroll": func() template.HTML { return "</div>" },
		"tone":       tone, "words": words, "limit": limitText, "limits": limitsOf,
	}
}

// joinPath makes the address of a page or of the API from a path and further elements of it, each as it is: "/" and "?"
// in an ID are part of the ID.
func joinPath(base string, elements ...any) template.URL {
	for _, e := range elements {
		base = strings.TrimSuffix(base, "/") + "/" + url.PathEscape(fmt.Sprint(e))
	}
	return template.URL(base) //nolint:gosec // escaped; base is of the template
}

// visible is text that others have chosen, with characters that would not be seen, or would change how the text around
// them is read, as their codes.
func visible(s string) string {
	hidden := func(r rune) bool {
		return r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
	}
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar && s[i] != 0xEF:
			fmt.Fprintf(&b, `\x%02x`, s[i]) // a byte that is no UTF-8
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// words is a name of the contract or of others, such as attempts_exhausted, for people.
func words(name any) string { return visible(strings.ReplaceAll(fmt.Sprint(name), "_", " ")) }

// showID shows an ID.
func showID(id any) template.HTML {
	return template.HTML(`<span class="id">` + template.HTMLEscapeString(visible(fmt.Sprint(id))) + `</span>`) //nolint:gosec // escaped
}

// linkTenant shows the ID of a community, with a link to its page.
func linkTenant(id string) template.HTML {
	return template.HTML(`<a class="id" href="` + template.HTMLEscapeString(string(joinPath("/tenants", id))) + `">` + //nolint:gosec // escaped
		template.HTMLEscapeString(visible(id)) + `</a>`)
}

// plain is a number as it is, of any type, also of a pointer.
func plain(n any) string {
	if v := reflect.ValueOf(n); v.Kind() == reflect.Pointer && !v.IsNil() {
		n = v.Elem().Interface()
	}
	return fmt.Sprint(n)
}

// number is a count with a comma at each thousand.
func number(n any) string {
	digits := plain(n)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// limitText is a limit, of which -1 is none.
func limitText(n int64) string {
	if n < 0 {
		return "unlimited"
	}
	return number(n)
}

// limitsOf are the limits of a tenant without boosts, by action.
func limitsOf(t *tenant.Tenant) []int64 { return t.Max[:] }

// rate is a number a second, with as many digits as can be read while it moves.
func rate(v float64) string {
	switch {
	case v <= 0 || math.IsNaN(v):
		return "0"
	case v < 9.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return number(int64(math.Round(v)))
	}
}

// bytesText is a size in the units of the settings: 1 KiB is 1,024 bytes.
func bytesText(n any) string {
	v, err := strconv.ParseFloat(plain(n), 64)
	if err != nil {
		return plain(n)
	}
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if v < 1024 {
			return shortFloat(v) + " " + unit
		}
		v /= 1024
	}
	return shortFloat(v) + " TiB"
}

func shortFloat(v float64) string {
	if v >= 10 || v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// percent is a part of a whole, 0 to 1.
func percent(v float64) string {
	if v > 0 && v < 0.01 {
		return "<1%"
	}
	return strconv.Itoa(int(math.Round(v*100))) + "%"
}

// share is how much n is of a bound, 0 to 1; 0 without one.
func share(n, bound any) float64 {
	a, err := strconv.ParseFloat(plain(n), 64)
	b, err2 := strconv.ParseFloat(plain(bound), 64)
	if err != nil || err2 != nil || b <= 0 {
		return 0
	}
	return math.Min(a/b, 1)
}

// span is a duration by its largest unit, for people; of a few hours the minutes count too.
func span(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 10*time.Hour && d%time.Hour >= time.Minute:
		return strconv.Itoa(int(d/time.Hour)) + " h " + strconv.Itoa(int(d%time.Hour/time.Minute)) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	default:
		return strconv.Itoa(int(d/(24*time.Hour))) + " d"
	}
}

// since is how long ago a time was, with the time itself as a hint.
func since(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	d := time.Since(t)
	text := span(d) + " ago"
	switch {
	case d <= -time.Second:
		text = "in " + span(-d)
	case d < time.Second:
		text = "now"
	}
	return timeElement(t, text)
}

// clock is a moment, to the second.
func clock(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	return timeElement(t, t.UTC().Format("2006-01-02 15:04:05"))
}

func timeElement(t time.Time, text string) template.HTML {
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s UTC">%s</time>`, //nolint:gosec // no text of others
		t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05"), text))
}

// use is a bar that shows how much of a bound is used, 0 to 1, in words too. It warns from four fifths on.
func use(label string, of float64) template.HTML {
	class := "calm-use"
	switch {
	case of >= 1:
		class = "bad"
	case of >= 0.8:
		class = "warn"
	}
	return template.HTML(fmt.Sprintf(`<meter class="%s" min="0" max="1" value="%.3f" aria-label="%s">%s</meter>`, //nolint:gosec // escaped
		class, of, template.HTMLEscapeString(label), template.HTMLEscapeString(percent(of))))
}

// tones are the colours of words that say how something is.
var tones = map[string]string{
	"ready": "ok", "ok": "ok", "success": "ok",
	"starting": "warn", "degraded": "warn", "draining": "warn", "lost": "bad", "not_ready": "bad", "failed": "bad",
}

func tone(word any) string { return tones[fmt.Sprint(word)] }
