package main

type discordCmd struct {
	Invite    discordInviteCmd    `cmd:"" help:"Print the address by which the application is added to a guild."`
	Register  discordRegisterCmd  `cmd:"" help:"Register the commands that users see, from a file."`
	Reconcile discordReconcileCmd `cmd:"" help:"Compare what was bought with what Discord lists."`
	SKU       discordSKUCmd       `cmd:"" name:"sku" help:"Say which tier who buys a SKU has."`
}
