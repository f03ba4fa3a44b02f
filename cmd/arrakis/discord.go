package main

type discordCmd struct {
	SKU discordSKUCmd `cmd:"" name:"sku" help:"Say which tier who buys a SKU has."`
}
