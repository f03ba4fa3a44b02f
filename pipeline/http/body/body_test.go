package body

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const patch = "application/merge-patch+json"
	long := strings.Repeat("x", firstRead+1)
	largest := Rules{MaxBytes: firstRead + 1, Types: []string{JSON}}
	for _, tt := range []struct {
		name, body string
		length     int64 // of the request, -1 for chunked
		header     [2]string
		rules      Rules
		status     int // 0: the body is read
		field      string
	}{
		{"plain", "{}", 2, [2]string{}, Rules{MaxBytes: 2, Types: []string{JSON}}, 0, ""},
		{"chunked", "{}", -1, [2]string{}, Rules{MaxBytes: 2, Types: []string{JSON}}, 0, ""},
		{"empty", "", 0, [2]string{}, Rules{MaxBytes: 2, Types: []string{JSON}}, 0, ""},
		{"above the limit", "{ }", 3, [2]string{}, Rules{MaxBytes: 2, Types: []string{JSON}}, 413, "body"},
		{"above the limit, to be sent", "{ }", 3, [2]string{"Expect", "100-continue"}, Rules{MaxBytes: 2, Types: []string{JSON}}, 413, "body"},
		{"chunked above the limit", "{ }", -1, [2]string{}, Rules{MaxBytes: 2, Types: []string{JSON}}, 413, "body"},
		{"long", long, firstRead + 1, [2]string{}, largest, 0, ""},
		{"not so long", long[1:], firstRead, [2]string{}, largest, 0, ""},
		{"long, cut off", long[1:], firstRead + 1, [2]string{}, largest, 400, "body"},
		{"cut off", "{}", 3, [2]string{}, Rules{MaxBytes: 3, Types: []string{JSON}}, 400, "body"},
		{"second type", "{}", 2, [2]string{"Content-Type", JSON + "; charset=utf-8"}, Rules{MaxBytes: 2, Types: []string{patch, JSON}}, 0, ""},
		{"suffix", "{}", 2, [2]string{"Content-Type", patch}, Rules{MaxBytes: 2, Types: []string{JSON}, Suffix: true}, 0, ""},
		{"no suffix", "{}", 2, [2]string{"Content-Type", patch}, Rules{MaxBytes: 2, Types: []string{JSON}}, 415, "Content-Type"},
		{"no JSON", "a: b", 4, [2]string{"Content-Type", "text/yaml"}, Rules{MaxBytes: 4, Types: []string{JSON}, Suffix: true}, 415, "Content-Type"},
		{"compressed", "{}", 2, [2]string{"Content-Encoding", "gzip"}, Rules{MaxBytes: 2, Types: []string{JSON}}, 415, "Content-Encoding"},
		{"not compressed", "{}", 2, [2]string{"Content-Encoding", "Identity"}, Rules{MaxBytes: 2, Types: []string{JSON}}, 0, ""},
	} {
		r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader(tt.body))
		r.ContentLength = tt.length
		r.Header.Set(tt.header[0], tt.header[1])
		data, p := tt.rules.Read(httptest.NewRecorder(), r)
		switch {
		case tt.status == 0 && (p != nil || string(data) != tt.body):
			t.Errorf("%s: %q, %+v", tt.name, data, p)
		case tt.status != 0 && (p == nil || p.Status != tt.status || p.Field != tt.field):
			t.Errorf("%s: %q, %+v, want %d of %s", tt.name, data, p, tt.status, tt.field)
		}
	}
}
