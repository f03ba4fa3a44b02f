// Command signer signs what k6 sends as Discord does: k6 has no Ed25519, and in JavaScript a signature takes 5 ms there. It
// prints its URL and the public key, for DISCORD_PUBLIC_KEY. The key is a new one each time.
//
//	POST /?at=1700000000   with a body; the answer has Discord's headers for it, signed at that time in Unix seconds
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"arrakis/loadtest/testserver/fakediscord"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "signer:", err)
		os.Exit(1)
	}
}

// run serves on a free port of the loopback interface until ctx ends.
func run(ctx context.Context, stdout io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	discord := fakediscord.New(fakediscord.Options{})
	server := &http.Server{Handler: signer(discord), ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // nothing is in flight that matters
	if _, err := fmt.Fprintf(stdout, "http://%s %s\n", l.Addr(), discord.PublicKey()); err != nil {
		return err
	}
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// signer answers with the headers that Discord sends with the request's body.
func signer(discord *fakediscord.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, err := strconv.ParseInt(r.URL.Query().Get("at"), 10, 64)
		if err != nil {
			http.Error(w, "at: expected Unix seconds", http.StatusBadRequest)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		discord.Sign(w.Header(), body, time.Unix(at, 0))
		w.WriteHeader(http.StatusNoContent)
	})
}
