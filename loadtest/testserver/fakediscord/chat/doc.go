// Package chat is a client of a fake Discord for people: what the page /discord of the console asks to show a chat, and
// to do in it what a user of Discord does. `arrakis dev --discord` serves it.
//
//	GET  /discord/start          the places, users, languages and commands that there are
//	GET  /discord/messages       what a user sees in a place, as server-sent events: all of it after each change
//	POST /discord/interactions   use a command, press a button, choose, send a form, complete an option
//	POST /discord/premium        buy what is sold for a place, or end that
//
// Who may ask for it is decided in front of it.
//
// # Bounds
//
// A place shows its newest 100 messages. 64 streams are open at most. One request can use a command 50 times, of which 10
// run at once.
package chat
