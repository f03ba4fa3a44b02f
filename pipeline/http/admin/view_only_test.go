package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/ops"
)

// TestViewOnlyOnEveryRoute sends every method of every route that there is with a token that may only look. Only those
// that read are answered by the API; all others are refused before it sees them.
func TestViewOnlyOnEveryRoute(t *testing.T) {
	view, err := auth.NewBearer("view-token")
	if err != nil {
		t.Fatal(err)
	}
	access, err := auth.NewAccess(auth.Bearer{}, view, true)
	if err != nil {
		t.Fatal(err)
	}
	reached := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h, err := ops.Handler(ops.Options{Health: ops.NewHealth(nil), Admin: reached, Access: access})
	if err != nil {
		t.Fatal(err)
	}
	routes := 0
	for path, res := range (&api{}).resources() {
		for method := range res.methods {
			routes++
			want := http.StatusForbidden
			if method == http.MethodGet || method == http.MethodHead {
				want = http.StatusTeapot
			}
			path := strings.NewReplacer("{", "", "}", "").Replace(path)
			r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader("{}"))
			r.Header.Set("Authorization", "Bearer view-token")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s %s: %d, want %d", method, path, w.Code, want)
			}
		}
	}
	if routes < 15 {
		t.Errorf("only %d routes were tried", routes)
	}
}
