package console

import (
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/problem"
	"arrakis/pipeline/lanes"
	"arrakis/shard"
	"arrakis/tenant/store"
)

// Options are the settings of [Handler].
type Options struct {
	// Fleet has the snapshots that live parts show. Required.
	Fleet *live.Hub
	// Limits reads the limits of communities. Its field Tenants is the store that the pages show. Required, with all its
	// fields.
	Limits *shard.Limits
	// Directory searches the tenants of that store. Required.
	Directory *store.Directory
	// DeadLetters are shown. Required.
	DeadLetters *deadletter.Store
	// Lanes returns what waits in the lanes of a community. Required.
	Lanes func(ctx context.Context, community string) ([]lanes.Status, error)
	// Chat serves what the page /discord asks, under /discord/: a chat with a Discord that is played. Defaults to nil: there
	// is no such page.
	Chat http.Handler
	// Access checks the tokens of log-ins. It must be that of the ops address.
	Access auth.Access
	// Version of arrakis, to be shown. Defaults to none.
	Version string
	// Logger logs what could not be shown at level warn. Defaults to none.
	Logger *slog.Logger
}

// Handler serves the console; see the package comment. The error names every missing option.
func Handler(o Options) (http.Handler, error) {
	var errs []error
	if o.Fleet == nil {
		errs = append(errs, errors.New("console options: Fleet is nil"))
	}
	if l := o.Limits; l == nil || l.Tenants == nil || l.Limiter == nil {
		errs = append(errs, errors.New("console options: Limits is nil or lacks a field"))
	}
	if o.Directory == nil {
		errs = append(errs, errors.New("console options: Directory is nil"))
	}
	if o.DeadLetters == nil {
		errs = append(errs, errors.New("console options: DeadLetters is nil"))
	}
	if o.Lanes == nil {
		errs = append(errs, errors.New("console options: Lanes is nil"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &console{
		fleet: o.Fleet, limits: o.Limits, tenants: o.Limits.Tenants, directory: o.Directory, deadLetters: o.DeadLetters, lanes: o.Lanes, chat: o.Chat,
		access: o.Access, version: o.Version, log: o.Logger.With("component", "console"),
		assets: newAssets(), attempts: auth.NewAttempts(),
	}
	c.parts = c.allParts()
	c.pages = c.allPages()
	c.templates = c.parseTemplates()
	return secured(c.mux()), nil
}

// console is the state that all pages share.
type console struct {
	// Set by Handler, read-only.
	fleet       *live.Hub
	limits      *shard.Limits
	tenants     *store.Store
	directory   *store.Directory
	deadLetters *deadletter.Store
	lanes       func(ctx context.Context, community string) ([]lanes.Status, error)
	chat        http.Handler // nil: there is no chat
	access      auth.Access
	version     string
	log         *slog.Logger
	assets      *assets
	pages       []page
	parts       map[string]*part
	templates   map[string]*template.Template // by page.name, and "" for live parts

	attempts *auth.Attempts
	samples  history
}

func (c *console) mux() http.Handler {
	mux := http.NewServeMux()
	for i := range c.pages {
		p := &c.pages[i]
		mux.Handle(p.path, reads(func(w http.ResponseWriter, r *http.Request) { c.servePage(w, r, p) }))
	}
	if c.chat != nil {
		mux.Handle(chatPath+"/", c.chat)
	}
	mux.Handle("/live", reads(c.serveLive))
	mux.Handle("/assets/", reads(c.assets.serve))
	mux.HandleFunc("/login", c.serveLogIn)
	mux.HandleFunc("/logout", c.serveLogOut)
	mux.Handle("/", reads(func(w http.ResponseWriter, r *http.Request) { c.serveProblem(w, r, problem.NotFound(r)) }))
	return mux
}

// reads answers GET and HEAD alone: no page changes anything, and what does is in the API, or of the chat.
func reads(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			_ = problem.MethodNotAllowed(w.Header(), r, "GET, HEAD").Write(w) // an error only means that the client is gone
			return
		}
		next(w, r)
	})
}

// policy is the content security policy of all pages.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// secured sets the headers that keep other sites and what others have written out of the pages. The referrer is for
// this site alone: without any, a browser would send the log-in with the Origin "null", which is refused as foreign.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if !strings.HasPrefix(r.URL.Path, "/assets/") {
			h.Set("Cache-Control", "no-store")
		}
		next.ServeHTTP(w, r)
	})
}
