// Package auth decides whether a request to an HTTP address may pass: [Bearer] by its bearer token (RFC 6750), and
// [Hosts] by the address and the web page that it was made for.
package auth
