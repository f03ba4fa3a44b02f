package record_test

import (
	"strings"
	"testing"

	"arrakis/tenant/record"
)

// TestUnescapedPassword: a URL whose password must be escaped is refused, and no part of the password is told.
func TestUnescapedPassword(t *testing.T) {
	t.Parallel()
	const url = "postgres://user:12/secret@host/database"
	_, err := record.Open(t.Context(), record.Options{URL: url})
	for _, err := range []error{err, record.CheckURL(url)} {
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "%2F") {
			t.Errorf("it is %v", err)
		}
	}
}
