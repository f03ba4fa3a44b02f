package live

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"
)

const (
	// writeTimeout is how long a client may take for one event.
	writeTimeout = 10 * time.Second
	// commentInterval is the time between two comments. They keep proxies from closing the connection, and show a client
	// that is gone.
	commentInterval = 15 * time.Second
	// retry is the time, in ms, after which a browser connects again.
	retry = "retry: 2000\n\n"
)

// Serve answers r with a stream of server-sent events. It calls stream with a context that ends with that of the request,
// which may be the end of a session, and when the client is gone. stream writes events until then, or until it has no
// more. An error of stream ends the answer like its return. Serve replaces the time-outs of the server for this answer.
//
// What may fail, such as a subscription, belongs in front of Serve, where another status can still be sent.
func Serve(w http.ResponseWriter, r *http.Request, stream func(ctx context.Context, w *Writer) error) {
	serve(w, r, commentInterval, stream)
}

func serve(w http.ResponseWriter, r *http.Request, interval time.Duration, stream func(ctx context.Context, w *Writer) error) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would collect events
	h.Set("X-Content-Type-Options", "nosniff")
	out := &Writer{w: w, control: http.NewResponseController(w)}
	// The time-out of the request would end the context of one that is still answered. A server without time-outs refuses.
	_ = out.control.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if out.write([]byte(retry)) != nil {
		return
	}
	var comments sync.WaitGroup
	comments.Go(func() {
		defer cancel()
		out.comment(ctx, interval)
	})
	_ = stream(ctx, out) // an error means that the client is gone
	cancel()
	comments.Wait()
	_ = out.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // of the server's last bytes, for a client that takes nothing
}

// Writer writes server-sent events. It is safe for concurrent use.
type Writer struct {
	control *http.ResponseController

	mu sync.Mutex // held while an event is written
	w  http.ResponseWriter
}

// comment writes a comment every interval, until ctx ends or the client is gone.
func (w *Writer) comment(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if w.write([]byte(":\n\n")) != nil {
			return
		}
	}
}

// Event writes an event, with data of any number of lines. name must be a word. An error means that the client is gone, or
// too slow.
func (w *Writer) Event(name string, data []byte) error { return w.write(Encode(name, data)) }

// Send writes an event that Encode has made. An error is as that of Event.
func (w *Writer) Send(event []byte) error { return w.write(event) }

// Encode is the text of an event, to be made once for all who get it: a client that is slow keeps it for as long as 10 s.
func Encode(name string, data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(name) + len(data) + len("event: \ndata: \n\n"))
	b.WriteString("event: " + name + "\n")
	data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		b.WriteString("data: ")
		b.Write(line)
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func (w *Writer) write(text []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // refused in tests without a connection
	if _, err := w.w.Write(text); err != nil {
		return err
	}
	if err := w.control.Flush(); err != nil {
		return err
	}
	_ = w.control.SetWriteDeadline(time.Time{}) // HTTP/2 resets a stream whose deadline passes, also if nothing is written
	return nil
}
