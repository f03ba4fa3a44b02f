package view

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"arrakis/tenant"
)

// maxSince is the longest time back that ParseSince accepts: longer than any log is kept.
const maxSince = 100 * 365 * 24 * time.Hour

// ParseSince reads from when on changes are asked for; "" is the zero time. It is a time (RFC 3339), a day such as
// 2026-11-01, which begins at midnight UTC, or for how long until now: such as 24h, or 7d of 24 hours each. The error is a
// [*tenant.FieldError].
func ParseSince(since string, now time.Time) (time.Time, error) {
	if since == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, since); err == nil {
			return t, nil
		}
	}
	ago, err := time.ParseDuration(since)
	if days, ok := strings.CutSuffix(since, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 15)
		ago = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || ago < 0 || ago > maxSince {
		return time.Time{}, &tenant.FieldError{Field: "since", Reason: fmt.Sprintf(
			"%.64q must be a time such as 2026-11-01T09:30:00Z, a day such as 2026-11-01, or how long ago: 24h or 7d", since)}
	}
	return now.Add(-ago), nil
}
