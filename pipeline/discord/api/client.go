// Package api makes single calls of Discord's REST API. It says in one form what can go wrong, and no error holds the
// token of a call: neither a bot's nor an interaction's, which is part of the URL. It does not wait and does not try
// again. Everything in it is safe for concurrent use.
package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"arrakis/pipeline/discord"
)

// userAgent is in the form that Discord asks for.
const userAgent = "DiscordBot (arrakis, 1)"

// maxDropped is how many bytes of an answer that nobody wants are read, so that the connection can be used again.
const maxDropped = 64 << 10

// Options configures a Client.
type Options struct {
	// BaseURL is where the API is, such as discord.DefaultAPIURL, or a proxy before it.
	BaseURL string
	// Timeout is how long a call may take. It must be above 0.
	Timeout time.Duration
	// MaxConnections bounds the connections that are open at once; a call that finds none free waits for one. It must be
	// above 0.
	MaxConnections int
	// MaxAnswer bounds the body of a good answer in bytes. A longer one is an error. With 0, Do returns none.
	MaxAnswer int64
}

// Client makes calls. It keeps its connections open for the next call; Close closes them.
type Client struct {
	base string
	o    Options
	http *http.Client
}

// New returns a Client. It fails if the URL cannot be one of the API.
func New(o Options) (*Client, error) {
	if err := discord.CheckAPIURL(o.BaseURL); err != nil {
		return nil, fmt.Errorf("URL of Discord's API: %w", err)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second,
		MaxConnsPerHost: o.MaxConnections, MaxIdleConnsPerHost: o.MaxConnections,
	}
	return &Client{
		base: strings.TrimRight(o.BaseURL, "/"), o: o,
		http: &http.Client{
			Transport: transport, Timeout: o.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token goes to no other host
		},
	}, nil
}

// Close closes the connections that no call uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call is one call.
type Call struct {
	Method        string
	Path          string // after the base URL, with its query
	Body          []byte // JSON; nil for none
	Authorization string // the header; "" for none
	Secret        string // the token in Path or Authorization, which no error shows
}

// Do makes a call and returns the body of a good answer, which is one with a status of 200 to 299. Errors:
//   - *[Error] for an answer with another status.
//   - ctx's, if ctx ended. Discord may have done what it was asked, then and after the next.
//   - one that is [ErrNoAnswer], if there is none. [errors.Is] also finds what is beneath it.
//   - any other error, if the answer is too long.
func (c *Client) Do(ctx context.Context, call Call) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, call.Method, c.base+call.Path, bytes.NewReader(call.Body))
	if err != nil {
		return nil, errors.New("the path of a call is no URL")
	}
	r.Header.Set("User-Agent", userAgent)
	if call.Body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if call.Authorization != "" {
		r.Header.Set("Authorization", call.Authorization)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.noAnswer(ctx, call, err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	good := response.StatusCode >= 200 && response.StatusCode <= 299
	most := c.o.MaxAnswer
	if !good || most == 0 {
		most = maxDropped
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case !good: // what could be read of the body is good enough
		return nil, newError(response, body, call.Secret)
	case c.o.MaxAnswer == 0:
		return nil, nil
	case err != nil:
		return nil, c.noAnswer(ctx, call, err)
	case int64(len(body)) > most:
		return nil, fmt.Errorf("discord's answer is longer than %d bytes", most)
	}
	return body, nil
}

// noAnswer makes the error of a call without an answer. That of net/http has the URL in it.
func (c *Client) noAnswer(ctx context.Context, call Call, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if wrapper := new(url.Error); errors.As(err, &wrapper) {
		err = wrapper.Err
	}
	return &callError{"discord does not answer: " + hidden(err.Error(), call.Secret), err}
}

// ErrNoAnswer is an error of [Client.Do].
var ErrNoAnswer = errors.New("discord does not answer")

// callError is an ErrNoAnswer whose text has no token, though the error beneath it may have one.
type callError struct {
	text string
	err  error
}

func (e *callError) Error() string { return e.text }

// Is reports whether the target is ErrNoAnswer or the error beneath. There is no Unwrap, so that nobody prints what is beneath.
func (e *callError) Is(target error) bool { return target == ErrNoAnswer || errors.Is(e.err, target) }

// hidden returns the text without the secret.
func hidden(text, secret string) string {
	if secret != "" {
		text = strings.NewReplacer(secret, "[redacted]", url.PathEscape(secret), "[redacted]").Replace(text)
	}
	return string(discord.Redact([]byte(text)))
}
