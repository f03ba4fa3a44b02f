// Package worker runs arrakis in one process: the pipeline, the limiter and hot reload. With Options.HTTP set it also
// runs the ingress, with Options.Ops also the ops address. A program imports the package to handle messages with Go
// functions of its own. `arrakis serve` is such a program.
//
// [New] checks the options and starts nothing. [Worker.Run] runs all parts and blocks until they have ended. It may
// be called once.
//
// # Shutdown
//
// When the context of Run ends, the parts end front to back. First the ingress waits until requests in flight have
// their outcome, for a third of Options.ShutdownTimeout at most. Then the pipeline finishes the messages that it has
// pulled. Then the limiter, hot reload and the ops address end. Run returns within ShutdownTimeout. Its last part, a
// fourth and 4 s at most, is for what is not finished by then: contexts of handlers end, and messages are given back to
// JetStream, which delivers them to another process at once. A handler that ignores its context holds nothing up: Run
// returns an error that names it, while it still runs.
//
// # Errors
//
// It is not an error that NATS or Redis is away. Run logs it and goes on when the server is back. It waits for NATS to
// start. It starts without Redis, and all tenants are on the free tier until they can be read; only under the policy
// [limiter.Closed], where no limited message could be handled, it waits for Redis. Run returns an error only if the
// process cannot go on.
package worker
