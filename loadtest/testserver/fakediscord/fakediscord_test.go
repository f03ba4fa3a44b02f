package fakediscord_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
	"arrakis/loadtest/testserver/fakediscord"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testserver.M{M: m}) }

// world is a fake Discord whose API is served.
type world struct {
	*fakediscord.Server
	tb  testing.TB
	api string
}

func start(t *testing.T, o fakediscord.Options) *world {
	t.Helper()
	if o.AnswerTime == 0 {
		o.AnswerTime = testserver.Patience
	}
	s := fakediscord.New(o)
	api, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{s, t, api}
}

// endpoint serves an interactions endpoint that verifies signatures, answers PING, and leaves the rest to answer.
func (w *world) endpoint(answer http.HandlerFunc) string {
	w.tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is lost fails the signature
		if !w.signed(r.Header, body) {
			http.Error(rw, "bad signature", http.StatusUnauthorized)
			return
		}
		var ping struct {
			Type  int
			Event json.RawMessage
		}
		if err := json.Unmarshal(body, &ping); err == nil && ping.Type == 1 && ping.Event == nil {
			reply(`{"type":1}`)(rw, r)
			return
		}
		answer(rw, r)
	}))
	w.tb.Cleanup(server.Close)
	return server.URL
}

func (w *world) signed(h http.Header, body []byte) bool {
	signature, err := hex.DecodeString(h.Get(fakediscord.HeaderSignature))
	if err != nil || len(signature) != ed25519.SignatureSize {
		return false
	}
	for _, text := range w.PublicKeys() {
		key, _ := hex.DecodeString(text) // its own
		if ed25519.Verify(key, append([]byte(h.Get(fakediscord.HeaderTimestamp)), body...), signature) {
			return true
		}
	}
	return false
}

func reply(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body) // Discord may be gone
	}
}

// call makes a call with an interaction's token and returns the status and Discord's code.
func (w *world) call(method, path, body string) (status, code int) {
	w.tb.Helper()
	r, err := http.NewRequestWithContext(w.tb.Context(), method, w.api+path, strings.NewReader(body))
	if err != nil {
		w.tb.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.tb.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	var answer struct{ Code int }
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.tb.Fatal(err)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			w.tb.Fatalf("%v: %s", err, text)
		}
	}
	return response.StatusCode, answer.Code
}

func (w *world) callback(i fakediscord.Issued, body string) [2]int {
	w.tb.Helper()
	status, code := w.call("POST", "/interactions/"+i.ID+"/"+i.Token+"/callback", body)
	return [2]int{status, code}
}

func (w *world) webhook(method string, i fakediscord.Issued, path, body string) [2]int {
	w.tb.Helper()
	status, code := w.call(method, "/webhooks/"+w.ApplicationID()+"/"+i.Token+path, body)
	return [2]int{status, code}
}

func (w *world) edit(i fakediscord.Issued, body string) [2]int {
	w.tb.Helper()
	return w.webhook("PATCH", i, "/messages/@original", body)
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// Memory is bounded: the newest histories are kept, with their messages, and those who look are told.
func TestHistoriesAreBounded(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{Histories: 2})
	changed, end := w.Changes()
	defer end()
	var ids []string
	for n := range 4 {
		i := w.Issue(fakediscord.Slash("ping").In("1", "2"))
		w.callback(i, fmt.Sprintf(`{"type":4,"data":{"content":"%d"}}`, n))
		ids = append(ids, i.ID)
		<-changed
	}
	_, first := w.History(ids[1])
	_, last := w.History(ids[2])
	m := w.Messages("2")
	if first || !last || len(m) != 2 || m[0].Content != "2" || m[1].Content != "3" {
		t.Errorf("histories %t, %t, messages %+v; want the newest two", first, last, m)
	}
	none := start(t, fakediscord.Options{Histories: -1})
	i := none.Issue(fakediscord.Slash("ping").In("1", "2"))
	want(t, "callback", none.callback(i, `{"type":4,"data":{"content":"x"}}`), [2]int{204, 0})
	want(t, "read", none.webhook("GET", i, "/messages/@original", ""), [2]int{200, 0})
	want(t, "messages", none.Messages("2"), []fakediscord.Message(nil))
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	w := start(t, fakediscord.Options{Histories: 10})
	endpoint := w.endpoint(reply(`{"type":4,"data":{"content":"x"}}`))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				if _, err := w.Send(t.Context(), endpoint, fakediscord.Slash("ping").In("1", "2")); err != nil {
					t.Error(err)
				}
				w.Messages("2")
				w.Totals()
			}
		})
	}
	wg.Wait()
	want(t, "totals", w.Totals(), fakediscord.Totals{Issued: 200, Inline: 200})
}

// A program imports this package, so it must not import testing, whose flags would be the program's.
func TestDeps(t *testing.T) {
	t.Parallel()
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(deps)) {
		if dep == "testing" || strings.HasPrefix(dep, "arrakis/") && !strings.HasSuffix(dep, "/fakediscord") {
			t.Errorf("it imports %s", dep)
		}
	}
}
