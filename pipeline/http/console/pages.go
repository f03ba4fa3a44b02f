package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"arrakis/pipeline/deadletter"
	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/live"
	"arrakis/pipeline/http/problem"
	"arrakis/pipeline/http/requestid"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

//go:embed templates
var templateFiles embed.FS

// page is one page.
type page struct {
	path   string // pattern of [http.ServeMux], without a method
	name   string // of its template: templates/NAME.html
	nav    string // address of the entry of the navigation that it belongs to
	script string // its module in assets, "" for none
	style  string // its style sheet in assets, "" for none
	charts bool   // it has charts
	// view reads what the page shows.
	view func(r *http.Request) (content, error)
}

// content is what a page shows.
type content struct {
	title string // of the page
	data  any    // for its template
}

// allPages are all pages but the log-in.
func (c *console) allPages() []page {
	pages := []page{
		c.overviewPage(),
		c.tenantsPage(),
		c.tenantPage(),
		c.accountsPage(),
		c.accountPage(),
		c.waitingPage(),
		c.deadLettersPage(),
		c.deadLetterPage(),
		c.streamsPage(),
		c.changesPage(),
	}
	if c.chat != nil {
		pages = append(pages, c.discordPage())
	}
	return pages
}

// entry is one entry of the navigation.
type entry struct{ Path, Title string }

// navigation are the entries of the navigation that are always there.
var navigation = []entry{
	{"/", "Overview"},
	{"/tenants", "Tenants"},
	{"/accounts", "Accounts"},
	{"/waiting", "Waiting"},
	{"/deadletters", "Dead letters"},
	{"/streams", "Streams"},
	{"/changes", "Changes"},
}

// navigation are the pages that every page leads to, in order.
func (c *console) navigation() []entry {
	if c.chat == nil {
		return navigation
	}
	return append(slices.Clone(navigation), entry{chatPath, "Discord"})
}

// frame is what the template of a page gets.
type frame struct {
	Title   string
	Nav     []entry
	Current string // path of the entry of Nav that the page belongs to
	Charts  bool
	Style   string
	Script  string
	Grant   auth.Grant
	Session bool // there is a session to log out of
	Version string
	Data    any

	ctx     context.Context //nolint:containedctx // of one request; the frame lives as long as it
	console *console

	looked   bool           // snapshot is set; it is the same for all parts of the page, which wait for it once
	snapshot *live.Snapshot // nil if the fleet is not known
}

// May reports whether the reader has one of the scopes. The error is for a scope that there is not.
func (f *frame) May(scopes ...auth.Scope) (bool, error) {
	for _, s := range scopes {
		if !slices.Contains(auth.Scopes, s) {
			return false, fmt.Errorf("there is no scope %q", s)
		}
	}
	return slices.ContainsFunc(scopes, f.Grant.Allows), nil
}

// Bounds says what the reader may change, if that is not everything.
func (f *frame) Bounds() string {
	var may []string
	for _, s := range []auth.Scope{auth.Limits, auth.Tiers, auth.DeadLetters} {
		if f.Grant.Allows(s) {
			may = append(may, scopeNames[s])
		}
	}
	switch {
	case f.Grant.Allows(auth.All):
		return ""
	case len(may) == 0:
		return "View only"
	}
	return "Only " + strings.Join(may, ", ")
}

// scopeNames say for people what may be changed.
var scopeNames = map[auth.Scope]string{auth.Limits: "limits", auth.Tiers: "tenants, accounts and flags", auth.DeadLetters: "dead letters"}

// Live renders a live part where it stands. pairs are the names and values of its parameters.
func (f *frame) Live(name string, pairs ...string) (template.HTML, error) {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	key := name
	if len(q) > 0 {
		key += "?" + q.Encode()
	}
	if !f.looked {
		f.looked, f.snapshot = true, f.console.latest(f.ctx)
	}
	shown, err := f.console.renderPart(f.ctx, key, f.snapshot)
	if err != nil {
		return "", err
	}
	return template.HTML(fmt.Sprintf("<div class=\"stack\" data-live=\"%s\">%s</div>", template.HTMLEscapeString(key), shown.html)), nil //nolint:gosec // rendered by html/template
}

// parseTemplates parses the templates of all pages. It panics on a fault, which every test would find.
func (c *console) parseTemplates() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(c.funcs()).ParseFS(templateFiles, "templates/layout.html", "templates/part_*.html"))
	all := map[string]*template.Template{"": layout}
	names := []string{"login", "problem"}
	for i := range c.pages {
		names = append(names, c.pages[i].name)
	}
	for _, name := range names {
		all[name] = template.Must(template.Must(layout.Clone()).ParseFS(templateFiles, "templates/"+name+".html"))
	}
	return all
}

func (c *console) servePage(w http.ResponseWriter, r *http.Request, p *page) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	r = r.WithContext(ctx)
	shown, err := p.view(r)
	if err != nil {
		c.serveProblem(w, r, c.problemOf(r, err))
		return
	}
	f := c.newFrame(r, shown.title, p.nav)
	f.Charts, f.Style, f.Script, f.Data = p.charts, p.style, p.script, shown.data
	c.render(w, r, http.StatusOK, p.name, f)
}

// pageTimeout bounds the work on one page.
const pageTimeout = 10 * time.Second

func (c *console) newFrame(r *http.Request, title, current string) *frame {
	grant := auth.GrantOf(r.Context())
	return &frame{
		Title: title, Nav: c.navigation(), Current: current, Grant: grant, Session: grant.Allows(auth.View) && !c.access.Open(),
		Version: c.version, ctx: r.Context(), console: c,
	}
}

// render answers with a page. It is rendered to its end before anything is sent, so that a fault is an answer of its own.
func (c *console) render(w http.ResponseWriter, r *http.Request, status int, name string, f *frame) {
	var page bytes.Buffer
	if err := c.templates[name].ExecuteTemplate(&page, "layout.html", f); err != nil {
		if name == "problem" {
			panic("console: the page of problems cannot be rendered: " + err.Error())
		}
		c.serveProblem(w, r, c.problemOf(r, err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = page.WriteTo(w) // an error only means that the client is gone
	}
}

// serveProblem shows a problem as a page. A program, which asks for no page, gets the document.
func (c *console) serveProblem(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		_ = p.Write(w) // an error only means that the client is gone
		return
	}
	p.RequestID = w.Header().Get(requestid.Header)
	f := c.newFrame(r, p.Title, "")
	f.Data = p
	c.render(w, r, p.Status, "problem", f)
}

// problemOf is the problem of a page that could not be shown because of err.
func (c *console) problemOf(r *http.Request, err error) *problem.Problem {
	var asked *deadletter.QueryError
	var field *tenant.FieldError
	var stored *store.StoredError
	switch {
	case errors.As(err, &stored):
		return problem.New(http.StatusInternalServerError, "unusable-document", "%s.", err)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, deadletter.ErrNotFound):
		return problem.New(http.StatusNotFound, "not-found", "There is none, or it is gone: %s.", err)
	case errors.Is(err, store.ErrCursor):
		return problem.Malformed("cursor", "is not one that a list has returned; list again from the start")
	case errors.As(err, &asked):
		return problem.Malformed(asked.Field, "%s", asked.Reason)
	case errors.As(err, &field):
		return problem.Malformed(field.Field, "%s", field.Reason)
	}
	if errors.Is(err, store.ErrAway) {
		return problem.New(http.StatusServiceUnavailable, "postgres-away",
			"PostgreSQL, which has the audit log, does not answer. The page works again when it does; the other pages work meanwhile.")
	}
	if errors.Is(err, store.ErrElsewhere) {
		return problem.New(http.StatusServiceUnavailable, "kept-elsewhere", "The page cannot be shown: %s.", err)
	}
	if !errors.Is(r.Context().Err(), context.Canceled) { // if it is canceled, the client is gone
		c.log.WarnContext(r.Context(), "a page cannot be shown", "path", r.URL.Path,
			"request_id", store.OriginOf(r.Context()).RequestID, "err", err)
	}
	return problem.New(http.StatusServiceUnavailable, "unavailable",
		"Redis or NATS did not answer; the log says more. The page works again when they do.")
}
