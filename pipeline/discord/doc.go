// Package discord knows the forms of Discord: interactions as Discord sends them, the messages that arrakis makes of
// them, and the answers that Discord takes. It does no I/O; package rest calls Discord, and package http/discord is
// called by it. Everything in it is safe for concurrent use.
package discord
