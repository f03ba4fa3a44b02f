package main

import (
	"errors"
	"fmt"
	"net/http"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/discord"
	"arrakis/pipeline/discord/api"
	"arrakis/pipeline/worker"
)

// discordSettings are what a worker knows of Discord. It needs no bot token.
type discordSettings struct {
	PublicKey string `name:"discord-public-key" group:"discord" placeholder:"KEY" help:"Public key of the application, which makes the ingress take interactions and events of Discord; or several, comma-separated, while one is rotated."`
	discordApplication
	discordAPI
	Ephemeral string `name:"discord-ephemeral" group:"discord" placeholder:"NAME,..." help:"Commands whose late answers only their user sees, by handler name. An early answer says that itself."`
}

// discordApplication says which application it is.
type discordApplication struct {
	ApplicationID string `name:"discord-application-id" group:"discord" placeholder:"ID" help:"ID of the application at Discord."`
}

// discordAPI says where Discord is called.
type discordAPI struct {
	APIURL string `name:"discord-api-url" group:"discord" default:"${discord_api_url}" help:"Discord's API, or a proxy before it."`
}

// discordBot is what commands need that act in the bot's name.
type discordBot struct {
	discordApplication
	discordAPI
	BotToken string `name:"discord-bot-token" group:"discord" placeholder:"TOKEN" help:"Token of the bot. Better by the environment: what is on a command line can be seen by others."`
}

func (s *discordSettings) validate() error {
	errs := []error{s.discordApplication.validate(), s.discordAPI.validate()}
	if keys := commaList(s.PublicKey); keys != nil {
		if _, err := discord.ParseKeys(keys...); err != nil {
			errs = append(errs, fmt.Errorf("DISCORD_PUBLIC_KEY (--discord-public-key): %w", err))
		}
	}
	for _, name := range commaList(s.Ephemeral) {
		if !contract.ValidCommand(name) {
			errs = append(errs, fmt.Errorf("DISCORD_EPHEMERAL (--discord-ephemeral) has %.64q: expected names of handlers, [a-z0-9_-]{1,32}, comma-separated", name))
		}
	}
	return errors.Join(errs...)
}

func (s *discordSettings) discordOptions() worker.DiscordOptions {
	return worker.DiscordOptions{
		PublicKeys: commaList(s.PublicKey), ApplicationID: s.ApplicationID, APIURL: s.APIURL, Ephemeral: commaList(s.Ephemeral),
	}
}

func (s *discordApplication) validate() error {
	if s.ApplicationID != "" && !discord.ValidID(s.ApplicationID) {
		return errors.New("DISCORD_APPLICATION_ID (--discord-application-id): expected an ID of up to 20 digits, as the developer portal shows it")
	}
	return nil
}

// required says that there must be one.
func (s *discordApplication) required() error {
	if s.ApplicationID == "" {
		return errors.New("this needs DISCORD_APPLICATION_ID: " + portal + " shows it")
	}
	return s.validate()
}

// portal is where Discord shows what the settings need.
const portal = "the developer portal (https://discord.com/developers/applications)"

func (s *discordAPI) validate() error {
	if err := discord.CheckAPIURL(s.APIURL); err != nil {
		return fmt.Errorf("DISCORD_API_URL (--discord-api-url): %w", err)
	}
	return nil
}

func (s *discordBot) validate() error {
	var missing error
	if s.BotToken == "" {
		missing = errors.New("this needs DISCORD_BOT_TOKEN: " + portal + " makes one, on the page of the bot")
	}
	return errors.Join(s.required(), missing, s.discordAPI.validate())
}

// explainDiscord adds to an error of Discord what to do about it.
func explainDiscord(err error) error {
	refused := new(api.Error)
	advice := ""
	switch answered := errors.As(err, &refused); {
	case errors.Is(err, api.ErrNoAnswer):
		advice = "can this machine reach DISCORD_API_URL?"
	case !answered:
		return err
	case refused.Status == http.StatusUnauthorized:
		advice = "DISCORD_BOT_TOKEN is not valid: " + portal + " makes a new one, on the page of the bot"
	case refused.Status == http.StatusForbidden:
		advice = "the bot may not do this: is DISCORD_APPLICATION_ID its application, and is it in the guild? `arrakis discord invite` adds it"
	case refused.Status == http.StatusNotFound && refused.Code == 0:
		advice = "is DISCORD_API_URL right?"
	case refused.Status == http.StatusNotFound:
		advice = "does DISCORD_APPLICATION_ID belong to this bot?"
	case refused.Status >= http.StatusInternalServerError:
		advice = "try again later; https://discordstatus.com says when Discord has trouble"
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, advice)
}
