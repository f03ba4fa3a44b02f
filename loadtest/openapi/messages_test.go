package openapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// The examples of requests work, and those of answers are as the document says.
func TestExamples(t *testing.T) {
	s := newSite(t, nil)
	examples := 0
	for _, op := range s.operations() {
		body := s.resolved(op.object["requestBody"])
		for mediaType, content := range objects(body["content"]) {
			for name, example := range objects(content["examples"]) {
				examples++
				data, err := json.Marshal(example["value"])
				if err != nil {
					t.Fatal(err)
				}
				base := s.ops
				token := adminToken
				if at, _ := s.servers(op.path); at["{ops}"] == "" {
					base, token = s.ingress, ingressToken
				}
				r := s.request(base, token, request{method: op.method, path: s.example(op), body: string(data), header: []string{"Content-Type", mediaType}})
				resp, err := s.client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close() // it is read
				if err != nil || resp.StatusCode >= 300 {
					t.Errorf("%s %s, example %q: %s %s %v", op.method, op.path, name, resp.Status, answer, err)
				}
				s.compare(name, r, resp, answer)
				if ok, errs := s.requests.ValidateHttpRequestSync(s.request(base, token, request{
					method: op.method, path: s.example(op), body: string(data), header: []string{"Content-Type", mediaType},
				})); !ok {
					t.Errorf("%s %s: the example %q is not as described:%s", op.method, op.path, name, reasons(errs))
				}
			}
		}
		for code, response := range objects(op.object["responses"]) {
			for mediaType, content := range objects(s.resolved(response)["content"]) {
				example, ok := content["example"]
				if !ok || !strings.HasSuffix(mediaType, "json") {
					continue
				}
				examples++
				data, err := json.Marshal(example)
				if err != nil {
					t.Fatal(err)
				}
				status, err := strconv.Atoi(code)
				if err != nil {
					t.Fatal(err)
				}
				ok, errs := s.responses.GetResponseBodyValidator().ValidateResponseBody(s.request(s.ops, "", request{method: op.method, path: s.example(op)}), &http.Response{
					StatusCode: status, Header: s.requiredHeaders(s.resolved(response), mediaType), Body: io.NopCloser(bytes.NewReader(data)),
				})
				if !ok {
					t.Errorf("%s %s: the example of %s is not as described:%s", op.method, op.path, code, reasons(errs))
				}
			}
		}
	}
	if examples < 30 {
		t.Errorf("%d examples, want at least 30", examples)
	}
}

// requiredHeaders are headers that make an answer with an example complete.
func (s *site) requiredHeaders(response object, mediaType string) http.Header {
	h := http.Header{"Content-Type": {mediaType}}
	for name := range objects(response["headers"]) {
		switch name {
		case "ETag":
			h.Set(name, `"1"`)
		case "Retry-After", "X-Request-Id":
			h.Set(name, "37")
		}
	}
	return h
}

// Answers of the ingress are as the document says, good and bad.
func TestMessages(t *testing.T) {
	s := newSite(t, nil)
	free := func(command string) string {
		return `{"community_id":"comm_free","data":{"command_name":"` + command + `"}}`
	}
	post := func(path, body string, status int, header ...string) (http.Header, string) {
		t.Helper()
		return s.ask(request{method: http.MethodPost, path: path, body: body, status: status, header: header})
	}
	for _, command := range []string{"ping", "echo", "nothing"} {
		if h, _ := post("/v1/commands", free(command), 200); h.Get("RateLimit") == "" || h.Get("RateLimit-Policy") == "" {
			t.Errorf("%s: no rate limit in %v", command, h)
		}
	}
	post("/v1/commands", free("refuses"), 403)
	post("/v1/commands", free("fails"), 502)
	post("/v1/commands", free("ping"), 202, "Prefer", "respond-async", "X-Request-Id", "my-own")
	post("/v1/eligibility/checks", `{"guild_id":"g1","check_type":"single"}`, 200)
	post("/v1/eligibility/checks", `{"guild_id":"g1","check_type":"single"}`, 202, "Prefer", "respond-async")
	post("/v1/eligibility/syncs", `{"community_id":"comm_free","check_type":"community_sync"}`, 202)
	post("/v1/events", `{"community_id":"comm_free","event_type":"member.join","timestamp":9007199254740992,"shard_id":null}`, 202)

	// Errors of every path.
	for _, path := range []string{"/v1/commands", "/v1/eligibility/checks", "/v1/eligibility/syncs", "/v1/events"} {
		good := `{"community_id":"comm_err","check_type":"single","event_type":"member.join"}`
		post(path, good, 401, "Authorization", "")
		post(path, good, 415, "Content-Type", "text/plain")
		post(path, good, 415, "Content-Encoding", "gzip")
		post(path, `{"community_id":"comm_err","check_type":"single","event_type":"a","data":"`+strings.Repeat("x", 65_536)+`"}`, 413)
		post(path, good, 202, "Idempotency-Key", "key-1", "Prefer", "respond-async")
		if h, _ := post(path, good, 202, "Idempotency-Key", "key-1", "Prefer", "respond-async"); h.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s, repeated: %v", path, h)
		}
		post(path, `{"community_id":"comm_err","check_type":"single","event_type":"other"}`, 422, "Idempotency-Key", "key-1")
	}

	// A repeated request.
	for range 2 {
		post("/v1/commands", `{"community_id":"pro","data":{"command_name":"refuses"}}`, 403, "Idempotency-Key", `"key-2"`)
	}
	post("/v1/commands", `{"community_id":"pro","data":{"command_name":"large"}}`, 200, "Idempotency-Key", "key-3")
	post("/v1/commands", `{"community_id":"pro","data":{"command_name":"large"}}`, 409, "Idempotency-Key", "key-3")
	first := make(chan string, 1)
	slow := request{method: http.MethodPost, path: "/v1/commands", body: `{"community_id":"pro","data":{"command_name":"slow"}}`, header: []string{"Idempotency-Key", "key-4"}}
	r := s.request(s.ingress, ingressToken, slow)
	go func() {
		resp, err := s.client.Do(r)
		if err != nil {
			first <- err.Error()
			return
		}
		_ = resp.Body.Close() // of no interest
		first <- resp.Status
	}()
	<-s.begun
	slow.status = 409
	s.ask(slow)
	close(s.slow)
	if status := <-first; status != "200 OK" {
		t.Errorf("the slow request: %s", status)
	}

	// Over the limit: five of ten are used.
	for range 6 {
		s.client.CloseIdleConnections()
		resp, err := s.client.Do(s.request(s.ingress, ingressToken, request{method: http.MethodPost, path: "/v1/commands", body: free("ping")}))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close() // of no interest
	}
	if h, _ := post("/v1/commands", free("ping"), 429); h.Get("RateLimit") == "" || h.Get("Retry-After") == "" {
		t.Errorf("over the limit: %v", h)
	}
	s.notSeen("messages",
		"400",               // TestBodiesOfMessages
		"408",               // a slow client
		"410", "503", "504", // TestOutcomes
	)
}

// What the document says of a body is what the ingress accepts.
func TestBodiesOfMessages(t *testing.T) {
	s := newSite(t, nil)
	long := strings.Repeat("x", 128)
	for _, tt := range []struct {
		path, body string
		status     int
		disagrees  bool
	}{
		{"/v1/commands", `{}`, 400, false},
		{"/v1/commands", `[]`, 400, false},
		{"/v1/commands", `{`, 400, false},
		{"/v1/commands", `{"community_id":null,"guild_id":null}`, 400, false},
		{"/v1/commands", `{"community_id":null,"guild_id":"g"}`, 202, false},
		{"/v1/commands", `{"community_id":"` + long + `"}`, 202, false},
		{"/v1/commands", `{"community_id":"` + long + `x"}`, 400, false},
		{"/v1/commands", `{"community_id":"a.b"}`, 400, false},
		{"/v1/commands", `{"community_id":"A_z:9-"}`, 202, false},
		{"/v1/commands", `{"community_id":7}`, 400, false},
		{"/v1/commands", `{"community_id":"c","user_id":"a b"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","channel_id":""}`, 400, false},
		{"/v1/commands", `{"community_id":"c","guild_id":"ä"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_id":"` + long + `"}`, 202, false},
		{"/v1/commands", `{"community_id":"c","event_id":"` + long + `x"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_id":""}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_id":null}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_id":"a b"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":"a.b-c_D.1"}`, 202, false},
		{"/v1/commands", `{"community_id":"c","event_type":"a..b"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":".a"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":"` + long + `x"}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":null}`, 400, false},
		{"/v1/commands", `{"community_id":"c","timestamp":-1}`, 400, false},
		{"/v1/commands", `{"community_id":"c","timestamp":1.5}`, 400, false},
		{"/v1/commands", `{"community_id":"c","shard_id":9007199254740993}`, 400, true}, // no float64, as which the library reads it
		{"/v1/commands", `{"community_id":"c","shard_id":9007199254740994}`, 400, false},
		{"/v1/commands", `{"community_id":"c","data":7,"more":[{}]}`, 202, false},
		{"/v1/commands", `{"community_id":"c","data":{"command_name":null}}`, 202, false},
		{"/v1/commands", `{"community_id":"c","data":{"command_name":"Ping"}}`, 400, false},
		{"/v1/commands", `{"community_id":"c","data":{"command_name":"` + long[:33] + `"}}`, 400, false},
		{"/v1/commands", `{"community_id":"c","event_type":"interaction.command.Ping"}`, 400, true}, // said in words
		{"/v1/commands", `{"community_id":"c","community_id":"d"}`, 400, true},                      // said in words
		{"/v1/eligibility/checks", `{"community_id":"c"}`, 400, false},
		{"/v1/eligibility/checks", `{"community_id":"c","check_type":null}`, 400, false},
		{"/v1/eligibility/syncs", `{"community_id":"c","check_type":"Single"}`, 400, false},
		{"/v1/eligibility/syncs", `{"community_id":"c","check_type":"single","wallet_address":1,"rule_ids":null}`, 202, false},
		{"/v1/events", `{"community_id":"c"}`, 400, false},
	} {
		s.ask(request{method: http.MethodPost, path: tt.path, body: tt.body, status: tt.status, disagrees: tt.disagrees, header: []string{"Prefer", "respond-async"}})
	}
	for key, status := range map[string]int{"a b": 400, strings.Repeat("y", 128): 202, long + "x": 400, `"` + long[1:] + `"`: 202, `"a\b"`: 400} {
		s.ask(request{method: http.MethodPost, path: "/v1/commands", body: `{"community_id":"c"}`, status: status, header: []string{"Idempotency-Key", key, "Prefer", "respond-async"}})
	}
}
