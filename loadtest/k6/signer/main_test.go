package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"arrakis/loadtest/testserver/fakediscord"
)

// What it signs is valid under the key that it prints, for the time that is asked for. It ends when it is told to.
func TestSigner(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, printed := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, printed) }()
	var url, key string
	if _, err := fmt.Fscanln(out, &url, &key); err != nil {
		t.Fatal(err)
	}
	sign := func(at string) (status int, headers http.Header) {
		t.Helper()
		response, err := http.Post(url+"/?at="+at, "application/json", strings.NewReader(`{"type":1}`)) //nolint:noctx // it ends at once
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close() // it has none that matters
		return response.StatusCode, response.Header
	}
	_, headers := sign("1700000000")
	public, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := hex.DecodeString(headers.Get(fakediscord.HeaderSignature))
	if err != nil {
		t.Fatal(err)
	}
	if headers.Get(fakediscord.HeaderTimestamp) != "1700000000" || !ed25519.Verify(public, []byte(`1700000000{"type":1}`), signature) {
		t.Errorf("key %s does not verify %v", key, headers)
	}
	if status, _ := sign("now"); status != http.StatusBadRequest {
		t.Errorf("without a time: %d, want 400", status)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
