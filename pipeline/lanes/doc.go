// Package lanes knows which communities are in a lane. A community that takes more than its share of a consumer's
// unacknowledged messages waits in a lane instead, in the stream OVERFLOW, so that others need not wait behind it.
//
// # Who is in a lane
//
// Redis says it to all processes: the hash arrakis:lanes has a field for each community and kind of messages, the
// marker. It is opened and closed by scripts that compare its epoch, so that a process that is late closes no lane but
// the one that it has seen. Every process reads the markers once a second. OVERFLOW itself is the truth behind them: while a
// subject of it holds messages, its community is in that lane, whatever Redis says. So lanes outlive a Redis that loses
// its data, and while Redis is away a process opens lanes by itself, from the shared ones.
//
// # Numbers and bounds
//
// A lane has a number, and each number a durable consumer, made when it is first used. The first 32 belong to one
// community and kind at a time. When they are taken, communities share the last 8, by hash. At most 1,000 markers exist;
// a further community stays where it is.
//
// In OVERFLOW each community may have as many bytes as are free, estimated by each process; see parts.
//
// # Concurrency
//
// Poll belongs to one goroutine, Open and SetDirect to one that may be another: a lane that takes long to close must not
// keep others from being opened. All other methods are safe for concurrent use. Between Hold and Release no lane opens or
// closes: whoever decides where a message goes does both, looking and handing over, in between, so that the messages of a
// community cannot overtake each other.
//
// A lane is left when it is empty. While messages of its community keep coming it never would be; so for a quarter of a
// second at most nothing enters a lane that may be left (it is closing), until it is empty, or is not after all. Then the
// next try is 2 s later, and each further one after twice the time, up to a minute: a community whose messages come
// steadily, and take long, stays in its lane, and must not be held up all the time.
package lanes
