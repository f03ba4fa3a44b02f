package console

import (
	"math"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/problem"
)

// maxForm bounds the form of a log-in: a token has 4,096 characters at most.
const maxForm = 16 << 10

// logIn is what the page of the log-in shows.
type logIn struct {
	Next   string // address of the page to go to
	Closed bool   // there is no token to log in with
	Fault  string
}

// serveLogIn shows the log-in, and logs in.
func (c *console) serveLogIn(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		next := ownPath(r.URL.Query().Get("next"))
		if grant, _ := c.access.Grant(r, time.Now()); grant.Allows(auth.View) {
			http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // a path here: ownPath
			return
		}
		c.showLogIn(w, r, http.StatusOK, logIn{Next: next})
	case http.MethodPost:
		c.logIn(w, r)
	default:
		_ = problem.MethodNotAllowed(w.Header(), r, "GET, HEAD, POST").Write(w) // an error only means that the client is gone
	}
}

func (c *console) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		c.showLogIn(w, r, http.StatusBadRequest, logIn{Next: "/", Fault: "The form did not arrive as it should. Try again."})
		return
	}
	next, now := ownPath(r.PostForm.Get("next")), time.Now()
	var cookie *http.Cookie
	wait := c.attempts.Try(now, func() bool {
		cookie = c.access.LogIn(r, strings.TrimSpace(r.PostForm.Get("token")), now)
		return cookie != nil
	})
	switch {
	case wait > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		c.showLogIn(w, r, http.StatusTooManyRequests, logIn{Next: next, Fault: "Too many log-ins have failed in this process. Wait a few seconds, then try again."})
	case cookie == nil:
		c.log.WarnContext(r.Context(), "a log-in failed", "remote", r.RemoteAddr)
		c.showLogIn(w, r, http.StatusUnauthorized, logIn{Next: next, Fault: "This is not a token that arrakis was started with."})
	default:
		http.SetCookie(w, cookie)
		http.Redirect(w, r, next, http.StatusSeeOther)
	}
}

func (c *console) showLogIn(w http.ResponseWriter, r *http.Request, status int, l logIn) {
	l.Closed = c.access.Closed()
	f := c.newFrame(r, "Log in", "")
	f.Data = l
	c.render(w, r, status, "login", f)
}

// serveLogOut removes the session from the browser.
func (c *console) serveLogOut(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		_ = problem.MethodNotAllowed(w.Header(), r, "POST").Write(w) // an error only means that the client is gone
		return
	}
	http.SetCookie(w, auth.LogOut(r))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// ownPath is next if it can be the address of a page here, and "/" otherwise: a log-in leads to no other site, and to no
// address that a browser does not open.
func ownPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") ||
		strings.ContainsAny(next, "\\\t\r\n") {
		return "/"
	}
	switch path.Clean(u.Path) { // as the server does, by a redirect
	case "/login", "/logout", "/live":
		return "/"
	}
	return (&url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}).String()
}
