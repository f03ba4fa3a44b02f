// Package auth decides whether a request to an HTTP address may pass: [Bearer] by its bearer token (RFC 6750), [Access]
// by the scopes that a token or a session gives it, and [Hosts] by the address and the web page that it was made for.
//
// # Sessions
//
// A browser cannot send a bearer token, so it logs in with one and gets a session: a cookie that says the name of the token
// and when it ends, with a MAC under a key derived from the token. Nothing is stored. So every process that has the token
// under that name accepts the session, which gives the scopes that the token gives there; and it ends on a process as soon
// as the token is no longer among its tokens. Logging out removes the cookie from the browser; a copy of it stays valid
// until it ends.
package auth
