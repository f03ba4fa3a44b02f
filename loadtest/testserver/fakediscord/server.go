package fakediscord

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// Base is the path under which the API is served.
	Base = "/api/v10"

	maxOpen     = 1_000_000
	maxAnswered = 100_000
)

// Options configures a Server. The zero value is usable.
type Options struct {
	// ApplicationID defaults to a new ID.
	ApplicationID string
	// BotToken is what calls for commands and entitlements must carry. Defaults to "fake-bot-token".
	BotToken string
	// Keys is how many keys the application has: more than one while a key is rotated. Defaults to 1.
	Keys int
	// AnswerTime is how long the first answer to an interaction, and the answer to an event, may take. Defaults to
	// Discord's 3 s; a test whose subject is another may allow a loaded machine more.
	AnswerTime time.Duration
	// Lifetime is for how long a token is valid, from the creation of its interaction. Defaults to 15 minutes.
	Lifetime time.Duration
	// Histories is of how many interactions, the newest, it is kept what was said. -1 keeps none: then messages that the
	// API returns lack their content. Defaults to 1,000.
	Histories int
	// Limits answers 429 above 5 calls in 2 s for one interaction, and above 30 in a minute for one channel.
	Limits bool
	// Client sends to endpoints. It should not follow redirects: Discord does not. Defaults to one that keeps up to 1,024
	// connections to an endpoint.
	Client *http.Client
	// Ended is called once for each interaction that gets its answer or loses it. It runs on the goroutine that brings the
	// answer, so it must be quick. Defaults to none.
	Ended func(Ended)
}

// Server is a fake Discord with one application. It is an [http.Handler] for the API.
type Server struct {
	// set by New, read-only
	o    Options
	mux  *http.ServeMux
	keys []key

	mu           sync.Mutex // protects the fields below
	use          int        // the key that signs
	byToken      map[string]*interaction
	open         *list.List // of *interaction, by creation: without an answer
	answered     *list.List // of *interaction, in the order of their answers
	histories    histories
	faults       []Fault
	limits       limits
	totals       Totals
	commands     map[string][]Command // by guild; "" is global
	entitlements []Entitlement        // by ID
	subscribers  map[chan struct{}]bool

	serving sync.WaitGroup // for the goroutine of Start
	server  *http.Server   // nil before Start
}

// New returns a Server. It listens nowhere: serve it, or call [Server.Start].
func New(o Options) *Server {
	o.ApplicationID = cmp.Or(o.ApplicationID, NewID())
	o.BotToken = cmp.Or(o.BotToken, "fake-bot-token")
	o.Keys = max(1, o.Keys)
	o.AnswerTime = cmp.Or(o.AnswerTime, 3*time.Second)
	o.Lifetime = cmp.Or(o.Lifetime, 15*time.Minute)
	o.Histories = cmp.Or(o.Histories, 1_000)
	if o.Client == nil {
		o.Client = newClient()
	}
	s := &Server{
		o: o, keys: newKeys(o.Keys), byToken: make(map[string]*interaction),
		open: list.New(), answered: list.New(), histories: newHistories(o.Histories),
		commands: make(map[string][]Command), subscribers: make(map[chan struct{}]bool),
	}
	s.limits.channels = make(map[string][]time.Time)
	s.mux = s.routes()
	return s
}

// newClient returns the client of Options.Client's default.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// ApplicationID is the application's ID.
func (s *Server) ApplicationID() string { return s.o.ApplicationID }

// BotToken is the token of the application's bot.
func (s *Server) BotToken() string { return s.o.BotToken }

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Start listens on the address, such as 127.0.0.1:0, and returns the URL of the API, for DISCORD_API_URL. Close ends
// what it starts. It may be called once.
func (s *Server) Start(addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen for the fake Discord: %w", err)
	}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	s.serving.Go(func() {
		_ = s.server.Serve(l) // the error says that it was closed
	})
	return "http://" + l.Addr().String() + Base, nil
}

// Close ends what Start has started, and closes the idle connections to endpoints. Requests that run are cut.
func (s *Server) Close() error {
	s.o.Client.CloseIdleConnections()
	if s.server == nil {
		return nil
	}
	err := s.server.Close()
	s.serving.Wait()
	return err
}

// errEnded reports whether the error is the end of the caller's context.
func errEnded(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}
