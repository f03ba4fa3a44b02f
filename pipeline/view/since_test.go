package view

import (
	"errors"
	"strings"
	"testing"
	"time"

	"arrakis/tenant"
)

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for since, want := range map[string]time.Time{
		"":                          {},
		"24h":                       now.Add(-24 * time.Hour),
		"1h30m":                     now.Add(-90 * time.Minute),
		"0s":                        now,
		"7d":                        now.AddDate(0, 0, -7),
		"2026-11-01":                time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		"2026-11-01T09:30:00Z":      time.Date(2026, 11, 1, 9, 30, 0, 0, time.UTC),
		"2026-11-01T09:30:00+02:00": time.Date(2026, 11, 1, 7, 30, 0, 0, time.UTC),
	} {
		if got, err := ParseSince(since, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", since, got, err, want)
		}
	}
	for _, since := range []string{
		"x", "7", "-24h", "-7d", "d", "1.5d", "99999d", "9999999h", "2026-13-01", "2026-11-01 09:30", "24h ", strings.Repeat("9", 1000) + "d",
	} {
		if got, err := ParseSince(since, now); !errors.As(err, new(*tenant.FieldError)) || len(err.Error()) > 300 {
			t.Errorf("%q: %v, %v", since, got, err)
		}
	}
}
