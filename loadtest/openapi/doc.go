// Package openapi has the tests that hold /openapi.json to what a worker does. The document is checked against the
// specification, every path and method is asked for on both addresses, the examples are sent, and answers, good and bad,
// are compared with what the document says of them. The library that does so has many dependencies, so the tests are a
// module of their own.
//
//	go -C loadtest/openapi test ./...
package openapi
