package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/problem"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant/store"
)

const (
	// requestTimeout bounds the work on one request.
	requestTimeout = 30 * time.Second
	// maxInFlight is how many requests are served at the same time; further requests are answered 503.
	maxInFlight = 64
)

// Options are the settings of [Handler].
type Options struct {
	// Limits reads and resets the used limits of communities. Its field Tenants is the store that the API serves.
	// Required, with all its fields.
	Limits *shard.Limits
	// Directory searches the tenants of that store. Required.
	Directory *store.Directory
	// DeadLetters are listed and replayed. Required.
	DeadLetters *deadletter.Store
	// Lanes returns what waits in the lanes of a community. Required.
	Lanes func(ctx context.Context, community string) ([]lanes.Status, error)
	// Live is where the fleet is looked at. Required.
	Live *live.Hub
	// Logger logs every change at level info, and every request that failed in Redis or NATS at level warn. Defaults to
	// none.
	Logger *slog.Logger
}

// Handler serves the admin API; see the package comment. It asks for no token; changes are of the origin that the context
// of a request carries ([store.WithOrigin]). The error names every missing option.
func Handler(o Options) (http.Handler, error) {
	var errs []error
	if l := o.Limits; l == nil || l.Tenants == nil || l.Limiter == nil {
		errs = append(errs, errors.New("admin options: Limits is nil or lacks a field"))
	}
	if o.Directory == nil {
		errs = append(errs, errors.New("admin options: Directory is nil"))
	}
	if o.DeadLetters == nil {
		errs = append(errs, errors.New("admin options: DeadLetters is nil"))
	}
	if o.Lanes == nil {
		errs = append(errs, errors.New("admin options: Lanes is nil"))
	}
	if o.Live == nil {
		errs = append(errs, errors.New("admin options: Live is nil"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &api{
		limits: o.Limits, tenants: o.Limits.Tenants, directory: o.Directory, deadLetters: o.DeadLetters, lanes: o.Lanes,
		live:  o.Live,
		log:   o.Logger.With("component", "admin"),
		slots: make(chan struct{}, maxInFlight),
	}
	return a.mux(), nil
}

// api is the state that all endpoints share.
type api struct {
	limits      *shard.Limits
	tenants     *store.Store
	directory   *store.Directory
	deadLetters *deadletter.Store
	lanes       func(ctx context.Context, community string) ([]lanes.Status, error)
	live        *live.Hub
	log         *slog.Logger
	slots       chan struct{} // one item for each request in flight
}

// endpoint answers one method of one path. It uses w to bound the body, and may set headers on w; only serve writes to
// w.
type endpoint func(w http.ResponseWriter, r *http.Request) (answer, error)

// answer is a successful answer.
type answer struct {
	status int           // 0 means 200
	body   any           // nil: no body
	etag   store.Version // "": no ETag
	next   string        // address of the next page of a list; "": no further page
}

// serve runs e and writes its answer, or the problem for its error.
func (a *api) serve(w http.ResponseWriter, r *http.Request, e endpoint) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		a.refuse(w, r, problem.New(http.StatusServiceUnavailable, "too-many-requests",
			"%d requests are being served, and no more are accepted. Repeat this request in a second.", maxInFlight).
			RetryAfter(time.Second))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	out, err := e(w, r)
	if err != nil {
		a.refuse(w, r, a.problemOf(r, err))
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		by := store.OriginOf(ctx)
		a.log.InfoContext(ctx, "changed by the admin API",
			"method", r.Method, "path", r.URL.Path, "actor", by.Actor, "from", by.From, "request_id", by.RequestID)
	}
	if err := out.write(w); err != nil {
		a.log.DebugContext(ctx, "the client is gone", "path", r.URL.Path, "err", err)
	}
}

// refuse answers with p.
func (a *api) refuse(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	if err := p.Write(w); err != nil {
		a.log.DebugContext(r.Context(), "the client is gone", "path", r.URL.Path, "err", err)
	}
}

// write answers with o. An error means that the client is gone.
func (o *answer) write(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if o.etag != "" {
		h.Set("ETag", view.ETag(o.etag))
	}
	if o.next != "" {
		h.Set("Link", "<"+o.next+`>; rel="next"`)
	}
	if o.body == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	body, err := json.Marshal(o.body)
	if err != nil {
		panic(fmt.Sprintf("admin: an answer cannot be encoded: %v", err)) // all types of answers can be encoded
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	if o.status != 0 {
		w.WriteHeader(o.status)
	}
	_, err = w.Write(append(body, '\n'))
	return err
}
