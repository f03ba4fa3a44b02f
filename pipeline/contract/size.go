package contract

// Size is how many bytes a message has: its subject, its headers as NATS writes them, and its body.
func Size(subject string, headers map[string][]string, body []byte) int {
	n := len(subject) + len(body)
	if len(headers) > 0 {
		n += len("NATS/1.0\r\n\r\n")
	}
	for name, values := range headers {
		for _, v := range values {
			n += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}
