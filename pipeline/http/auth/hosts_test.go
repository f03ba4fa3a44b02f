package auth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNewHosts(t *testing.T) {
	for name, ok := range map[string]bool{
		"ops.example.com": true, "OPS": true, "*.example.com": true, "a_b-c.d.": true,
		"": false, "*": false, "*.": false, ".example.com": false, "a b": false, "http://a": false, "a:8081": false, "a/b": false, "a*": false, "*.*.a": false,
	} {
		if _, err := NewHosts("other", name); (err == nil) != ok {
			t.Errorf("NewHosts(%q): %v", name, err)
		}
	}
}

func TestCheckHost(t *testing.T) {
	h, err := NewHosts("Ops.Example.com", "*.pods.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for host, ok := range map[string]bool{
		"localhost": true, "localhost:8081": true, "LOCALHOST.": true, "127.0.0.1:8081": true, "10.1.2.3": true,
		"[::1]:8081": true, "[::1]": true, "[fe80::1%eth0]:1": true,
		"ops.example.com": true, "OPS.example.com.:8081": true, "a.pods.example.com": true, "a.b.pods.example.com:1": true,
		"": false, "evil.example": false, "evil.example:8081": false, "localhost.evil.example": false, "evil-localhost": false,
		"pods.example.com": false, "evilpods.example.com": false, "ops.example.com.evil.example": false, "127.0.0.1.evil.example": false,
		"[::1": false, "::1]": false, "127.1": false, "2130706433": false,
	} {
		if got := h.CheckHost(&http.Request{Host: host}) == nil; got != ok {
			t.Errorf("%q: %v, want %v", host, got, ok)
		}
	}
	if (Hosts{}).CheckHost(&http.Request{Host: "127.0.0.1:1"}) != nil {
		t.Error("the zero value refuses an IP address")
	}
}

func TestCheckOrigin(t *testing.T) {
	for _, tt := range []struct {
		request string // a method, and headers as name=value
		ok      bool
	}{
		{"POST", true}, // no browser
		{"POST Origin=http://localhost:8081", true},
		{"POST Sec-Fetch-Site=same-origin Origin=http://localhost:8081", true},
		{"GET Sec-Fetch-Site=none Sec-Fetch-Mode=navigate", true},                // typed
		{"GET Sec-Fetch-Site=cross-site Sec-Fetch-Mode=navigate", true},          // a link
		{"GET Sec-Fetch-Site=cross-site Sec-Fetch-Mode=no-cors", false},          // an image
		{"POST Sec-Fetch-Site=cross-site Sec-Fetch-Mode=navigate", false},        // a form
		{"GET Sec-Fetch-Mode=navigate Origin=https://evil.example", false},       // no browser sends this
		{"OPTIONS Origin=https://evil.example Sec-Fetch-Site=cross-site", false}, // a preflight
		{"DELETE Origin=http://localhost:8081.evil.example", false},
		{"GET Origin=%zz", false},
	} {
		method, headers, _ := strings.Cut(tt.request, " ")
		r := httptest.NewRequest(method, "http://localhost:8081/", http.NoBody)
		for header := range strings.FieldsSeq(headers) {
			name, value, _ := strings.Cut(header, "=")
			r.Header.Set(name, value)
		}
		if p := (Hosts{}).CheckOrigin(r); (p == nil) != tt.ok {
			t.Errorf("%s: %+v", tt.request, p)
		}
		if r.Method != method {
			t.Errorf("%s: the request is %s now", tt.request, r.Method)
		}
	}
}
