package console

import "net/http"

// chatPath is where the page of the chat is. What it asks, Options.Chat serves under it.
const chatPath = "/discord"

// discordPage is a chat with a Discord that is played. It is there only where Options.Chat is set.
func (c *console) discordPage() page {
	return page{path: chatPath, name: "discord", nav: chatPath, script: "discord.js", style: "discord.css", view: viewDiscord}
}

// viewDiscord has nothing to show: the page asks for all of it.
func viewDiscord(*http.Request) (content, error) { return content{title: "Discord"}, nil }
