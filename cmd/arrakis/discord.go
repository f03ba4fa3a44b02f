package main

type discordCmd struct {
	Invite discordInviteCmd `cmd:"" help:"Print the address by which the application is added to a guild."`
	SKU    discordSKUCmd    `cmd:"" name:"sku" help:"Say which tier who buys a SKU has."`
}
