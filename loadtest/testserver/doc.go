// Package testserver starts the servers that tests need: redis-server, alone, as a cluster or under a Sentinel;
// miniredis; nats-server; PostgreSQL; rabbitmq-server; a collector of traces; and a TCP proxy that fails like a network.
// It also has helpers for tests: a poll with a deadline, golden files, and the fixtures of messages. Only tests and the
// load tests may import it.
//
// # What a server promises
//
// A server listens on 127.0.0.1, on a port that the kernel chooses. The port belongs to the server until the test ends,
// so a killed server can be started again at the same address. The server answers when the function that starts it
// returns. The server and all its goroutines, connections and files end with the test. Tests do not share servers, so
// tests may run in parallel. There are three exceptions: the cluster of EveryRedis, which the tests of a package borrow in
// turn; the server of PostgresDatabase, on which each test has a database of its own; and that of SharedRabbitMQ.
//
// If a program such as redis-server is not installed, the test is skipped on a developer's machine. If the variable CI
// is set, the test fails instead, because nobody would run a test that is skipped in CI.
//
// # Errors
//
// No function returns an error. A failure of a server is not a result of a test, so the functions end the test with
// tb.Fatal. Therefore only the goroutine that runs the test may call them, unless a function's comment says otherwise.
package testserver
