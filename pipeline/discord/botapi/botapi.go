// Package botapi calls the parts of Discord's API that need a bot's token: the application, its commands, and what
// guilds and users have bought. It is for the command line; a worker needs no such token. A Client waits where Discord
// says so. Everything in it is safe for concurrent use.
package botapi

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/api"
	"arrakis/pipeline/discord/appcommands"
)

const (
	timeout    = 30 * time.Second // of one call
	maxAnswer  = 16 << 20         // bytes; a hundred commands with all their translations have less
	maxWait    = time.Minute      // in one call, for answers that say to wait
	pageLength = 100              // entitlements in one answer; Discord's most
)

// Client calls Discord as one bot.
type Client struct {
	api   *api.Client
	token string
}

// New returns a Client. It fails if the URL cannot be one of the API, or the token cannot be one.
func New(baseURL, token string) (*Client, error) {
	if token == "" {
		return nil, errors.New("there is no bot token")
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return nil, errors.New("the bot token has a character that no token has: a space, a line break or the like")
		}
	}
	client, err := api.New(api.Options{BaseURL: baseURL, Timeout: timeout, MaxConnections: 4, MaxAnswer: maxAnswer})
	if err != nil {
		return nil, err
	}
	return &Client{api: client, token: token}, nil
}

// Close closes the connections that no call uses.
func (c *Client) Close() { c.api.Close() }

// Application is the bot's application.
type Application struct {
	ID                      string `json:"id"`
	Name                    string `json:"name"`
	PublicKey               string `json:"verify_key"`                // verifies interactions
	InteractionsEndpointURL string `json:"interactions_endpoint_url"` // "": interactions come by the gateway
}

// Application returns the bot's application. Its errors, and those of the other methods, are those of [api.Client.Do],
// and one that says what cannot be read. An [*api.Error] with the status 401 means that the token is not valid.
func (c *Client) Application(ctx context.Context) (a Application, err error) {
	body, err := c.call(ctx, http.MethodGet, "/applications/@me", nil)
	if err != nil {
		return a, fmt.Errorf("get the application: %w", err)
	}
	if err := json.Unmarshal(body, &a); err != nil || !discord.ValidID(a.ID) {
		return a, errors.New("get the application: Discord's answer is none")
	}
	return a, nil
}

// Commands returns the commands of an application, for one guild, or with "" for all.
func (c *Client) Commands(ctx context.Context, application, guild string) ([]appcommands.Command, error) {
	body, err := c.call(ctx, http.MethodGet, commandsPath(application, guild)+"?with_localizations=true", nil)
	if err != nil {
		return nil, fmt.Errorf("get the commands: %w", err)
	}
	return appcommands.ParseAnswer(body)
}

// Overwrite replaces all commands of an application, for one guild, or with "" for all, and returns what there is then.
func (c *Client) Overwrite(ctx context.Context, application, guild string, commands []appcommands.Command) ([]appcommands.Command, error) {
	if commands == nil {
		commands = []appcommands.Command{} // null is no list
	}
	list, err := json.Marshal(commands)
	if err != nil {
		return nil, fmt.Errorf("replace the commands: %w", err)
	}
	body, err := c.call(ctx, http.MethodPut, commandsPath(application, guild), list)
	if err != nil {
		return nil, fmt.Errorf("replace the commands: %w", err)
	}
	return appcommands.ParseAnswer(body)
}

func commandsPath(application, guild string) string {
	path := "/applications/" + url.PathEscape(application)
	if guild != "" {
		path += "/guilds/" + url.PathEscape(guild)
	}
	return path + "/commands"
}

// Entitlements returns the entitlements of an application that have not ended and are not deleted, of one guild, or with
// "" of all guilds and users, the oldest first. It asks for a page when the one before has been used. After an error
// there are no more.
func (c *Client) Entitlements(ctx context.Context, application, guild string) iter.Seq2[discord.Entitlement, error] {
	return func(yield func(discord.Entitlement, error) bool) {
		after := "0"
		for {
			page, err := c.entitlements(ctx, application, guild, after)
			if err != nil {
				yield(discord.Entitlement{}, fmt.Errorf("get the entitlements: %w", err))
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if len(page) < pageLength {
				return
			}
			after = page[len(page)-1].ID
		}
	}
}

// entitlements returns the page after an ID.
func (c *Client) entitlements(ctx context.Context, application, guild, after string) ([]discord.Entitlement, error) {
	query := url.Values{
		"after": {after}, "limit": {fmt.Sprint(pageLength)}, "exclude_ended": {"true"}, "exclude_deleted": {"true"},
	}
	if guild != "" {
		query.Set("guild_id", guild)
	}
	body, err := c.call(ctx, http.MethodGet, "/applications/"+url.PathEscape(application)+"/entitlements?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	page, err := discord.ParseEntitlements(body)
	if err != nil {
		return nil, err
	}
	for _, e := range page {
		if older(e.ID, after) {
			return nil, fmt.Errorf("entitlement %s is not after %s, as was asked", e.ID, after) // it would never end
		}
		after = e.ID
	}
	return page, nil
}

// older reports whether an ID was made no later than another one.
func older(id, than string) bool {
	return len(id) < len(than) || len(id) == len(than) && id <= than
}

// call makes a call, again when Discord says to wait, as long as that is no more than maxWait in all.
func (c *Client) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	left := maxWait
	for {
		answer, err := c.api.Do(ctx, api.Call{
			Method: method, Path: path, Body: body, Authorization: "Bot " + c.token, Secret: c.token,
		})
		var refused *api.Error
		if !errors.As(err, &refused) || refused.Limited == nil || refused.Limited.After > left {
			return answer, err
		}
		left -= refused.Limited.After
		wait := time.NewTimer(refused.Limited.After)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, ctx.Err()
		}
	}
}
