// Package testserver starts what the tests of every package need: redis-server,
// alone, as a cluster or under a Sentinel; miniredis; nats-server; a TCP proxy
// that fails like a network. Beside them are what the tests on these servers
// need: a poll with a deadline, golden files, the fixtures of messages. Only
// tests and the load tests may import it.
//
// # What a server promises
//
// It listens on 127.0.0.1, on a port of the kernel's choice, which stays the
// server's until the test ends: one that was killed starts again at the address
// that its clients know. It answers when the function that starts it returns.
// It ends with the test, and with it every goroutine, connection and file. No
// test shares it, so tests may run in parallel; the one exception is the cluster
// of EveryRedis, which a package's tests borrow in turn.
//
// A program that is not installed, redis-server above all, skips the test on a
// developer's machine, and fails it where the variable CI is set: a test that
// is skipped there would be a test that nobody runs.
//
// # Errors
//
// No function returns an error: what goes wrong here is no result of a test, so
// it ends the test by tb.Fatal. Therefore they must be called by the goroutine
// that runs the test, unless a function's comment says otherwise.
package testserver
