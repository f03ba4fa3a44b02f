package requestid_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"arrakis/pipeline/http/requestid"
)

func TestOf(t *testing.T) {
	t.Parallel()
	madeUp := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for given, kept := range map[string]bool{
		"8a1f-22": true, "~!": true, strings.Repeat("x", 128): true,
		"": false, "a b": false, "a\tb": false, "é": false, strings.Repeat("x", 129): false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set(requestid.Header, given)
		id := requestid.Of(r)
		if (id == given) != kept || !kept && !madeUp.MatchString(id) || seen[id] {
			t.Errorf("%.20q: %q", given, id)
		}
		seen[id] = true
	}
}
