// Package worker is one process of arrakis, ready to be run: the pipeline, the
// limiter, hot reload, and where addresses are given the HTTP ingress and the ops
// address. A program imports it to handle messages with Go functions of its own;
// `arrakis serve` is such a program.
//
// [New] checks the options and starts nothing. [Worker.Run] runs everything,
// blocks until it has ended, and may be called once.
//
// # Shutdown
//
// When the context of Run ends, the parts end front to back, each after those
// that feed it: the ingress, which lets requests in flight get their outcome; the
// pipeline, which finishes what it has pulled; then the rest. All of it takes at
// most Options.ShutdownTimeout and a moment. What is not finished by then is given
// back to JetStream.
//
// # Errors
//
// NATS or Redis being away is no error: Run waits for them, logs it, and goes on
// when they are back. Run returns an error only when the process cannot go on.
package worker
