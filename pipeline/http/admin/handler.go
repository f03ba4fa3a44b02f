package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
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

// resource is one path with its methods.
type resource struct {
	methods    map[string]endpoint
	parameters []string // of the query
}

// resources are all resources, by path.
func (a *api) resources() map[string]resource {
	const get, put, patch, post, remove = http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete
	tenants, flags := tenants(a.tenants), flags(a.tenants)
	pages := []string{"limit", "cursor"}
	return map[string]resource{
		"/v1/tenants": {methods: map[string]endpoint{get: list(a.tenantPage)}, parameters: append(pages, "q")},
		"/v1/tenants/{id}": {methods: map[string]endpoint{
			get: tenants.serveGet, put: tenants.servePut, patch: a.patchTenant, remove: tenants.serveDelete,
		}},
		"/v1/tenants/{id}/boost":          {methods: map[string]endpoint{post: a.boost, remove: a.endBoosts}},
		"/v1/tenants/{id}/explain":        {methods: map[string]endpoint{get: a.explain}, parameters: []string{"command", "user"}},
		"/v1/tenants/{id}/usage":          {methods: map[string]endpoint{get: a.usage, remove: a.reset}},
		"/v1/tenants/{id}/usage/{action}": {methods: map[string]endpoint{remove: a.reset}},
		"/v1/flags":                       {methods: map[string]endpoint{get: list(a.flagPage)}, parameters: pages},
		"/v1/flags/{id}":                  {methods: map[string]endpoint{get: flags.serveGet, put: flags.servePut, remove: flags.serveDelete}},
		"/v1/audit": {
			methods: map[string]endpoint{get: list(a.auditPage)}, parameters: append(pages, "target", "type", "since"),
		},
		"/v1/reload": {methods: map[string]endpoint{post: a.reload}, parameters: []string{"community"}},
		"/v1/fleet":  {methods: map[string]endpoint{get: a.fleet}},
		"/v1/deadletters": {
			methods: map[string]endpoint{get: list(a.deadLetterPage)}, parameters: append(pages, "stream", "reason", "community", "order"),
		},
		"/v1/deadletters/{seq}":        {methods: map[string]endpoint{get: a.deadLetter, remove: a.deleteDeadLetter}},
		"/v1/deadletters/{seq}/replay": {methods: map[string]endpoint{post: a.replay}},
		"/v1/deadletters/replay":       {methods: map[string]endpoint{post: a.bulk(deadletter.ActionReplay)}},
		"/v1/deadletters/purge":        {methods: map[string]endpoint{post: a.bulk(deadletter.ActionPurge)}},
	}
}

// mux routes by path alone. The handlers check the method, because a ServeMux would not answer with a problem.
func (a *api) mux() http.Handler {
	mux := http.NewServeMux()
	for path, res := range a.resources() {
		if get, ok := res.methods[http.MethodGet]; ok {
			res.methods[http.MethodHead] = get
		}
		allow := allowed(res.methods)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			e, ok := res.methods[r.Method]
			if !ok {
				a.refuse(w, r, problem.MethodNotAllowed(w.Header(), r, allow))
				return
			}
			a.serve(w, r, func(w http.ResponseWriter, r *http.Request) (answer, error) {
				if err := checkQuery(r, res.parameters); err != nil {
					return answer{}, err
				}
				return e(w, r)
			})
		})
	}
	mux.HandleFunc("/v1/stream", a.stream)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { a.refuse(w, r, problem.NotFound(r)) })
	return mux
}

// allowed lists methods for the header Allow, in a fixed order.
func allowed[T any](methods map[string]T) string {
	var names []string
	for _, m := range []string{
		http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete,
	} {
		if _, ok := methods[m]; ok {
			names = append(names, m)
		}
	}
	return strings.Join(names, ", ")
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
