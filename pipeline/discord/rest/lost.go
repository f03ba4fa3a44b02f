package rest

// An answer that never came as far as to be sent.
const (
	unstored        = "stored"
	lost     result = "lost"
)

// CountLost counts an answer that is not sent, because JetStream could not store it.
func (c *Client) CountLost() { c.m.count(unstored, lost) }
