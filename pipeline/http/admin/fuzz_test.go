package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"arrakis/limiter"
	"arrakis/pipeline/deadletter"
	"arrakis/tenant/store"
)

// FuzzBodies: no body makes the API panic or fail; what it takes it gives back
// in a form that it takes again.
func FuzzBodies(f *testing.F) {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(f).Addr(), ContextTimeoutEnabled: true})
	f.Cleanup(func() { _ = rdb.Close() })
	l, err := limiter.New(rdb, limiter.Options{})
	if err != nil {
		f.Fatal(err)
	}
	var js jetstream.JetStream // not reached by these requests
	h, err := Handler(Options{
		Limits:      &Limits{Tenants: store.New(rdb, store.Options{}), Limiter: l, Redis: rdb},
		DeadLetters: deadletter.New(js),
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range []string{
		`{}`, `{"tier":"pro"}`, `{"tier":"gold"}`, `{"rateLimits":{"commandsPerMinute":-2}}`, `{"tier":null}`, `{"tear":"pro"}`,
		`{"id":"f1","enabled":true,"tiers":["free"],"communities":{"include":["c1"]},"rolloutPercent":1e1}`, `{"community":"c1"}`,
		`{"tier":"pro","tier":"pro"}`, `{"a":{"b":[1,"\ud800"]}}`, "\xff", `[`, `"\u0000"`, `null`, ` `, ``,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, request := range []string{"PUT /v1/tenants/c1", "PATCH /v1/tenants/c1", "PUT /v1/flags/f1", "POST /v1/reload"} {
			method, path, _ := strings.Cut(request, " ")
			send := func(method, body string) *httptest.ResponseRecorder {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
				return w
			}
			switch w := send(method, body); w.Code {
			case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
				if !strings.Contains(w.Body.String(), `"field":"`) {
					t.Errorf("%s %q names no field: %s", request, body, w.Body)
				}
			case http.StatusOK, http.StatusCreated:
				if method == http.MethodPost {
					continue
				}
				if w := send(http.MethodPut, send(http.MethodGet, "").Body.String()); w.Code != http.StatusOK {
					t.Errorf("after %s %q what GET gives is refused: %d %s", request, body, w.Code, w.Body)
				}
			default:
				t.Errorf("%s %q: %d %s", request, body, w.Code, w.Body)
			}
		}
	})
}
