package rabbitmq

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"

	"arrakis/pipeline/contract"
)

// What AMQP says of a message becomes headers with these names. Headers of the message are behind headerOther.
const (
	headerPrefix = "Amqp-"
	headerOther  = headerPrefix + "Header-"
	// headersCut is how many headers were left out, because all together must not be larger than maxHeaders.
	headersCut = headerPrefix + "Headers-Cut"
	allCut     = "all" // its value where a message was too large with any
)

// The bounds of headers that AMQP gives.
const (
	maxHeaders     = 8 << 10 // bytes of all
	maxHeaderValue = 1 << 10 // bytes; the rest of a value is cut
	maxHeaderName  = 64      // bytes
)

// headersOf are the headers for a message from the queue, all of them bounded and on one line. Those of a trace keep their
// names, so that it goes on.
func headersOf(queue string, d *amqp.Delivery) nats.Header {
	h, size, cut := nats.Header{}, 0, 0
	add := func(name, value string) {
		if value == "" || name == "" {
			return
		}
		value = contract.Clip(value, maxHeaderValue)
		if _, taken := h[name]; taken || size+len(name)+len(value) > maxHeaders {
			cut++
			return
		}
		size += len(name) + len(value)
		h[name] = []string{value}
	}
	for _, p := range properties(d) {
		add(headerPrefix+p.name, p.value)
	}
	add(headerPrefix+"Queue", queue)
	for _, name := range []string{contract.HeaderTraceParent, contract.HeaderTraceState} {
		if v, ok := d.Headers[name].(string); ok {
			add(name, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		if token := headerToken(name); token != "" && name != contract.HeaderTraceParent && name != contract.HeaderTraceState {
			add(headerOther+token, headerText(d.Headers[name]))
		}
	}
	if cut > 0 {
		h[headersCut] = []string{strconv.Itoa(cut)}
	}
	return h
}

type property struct{ name, value string }

// properties are the properties of a delivery, those that are missing as "".
func properties(d *amqp.Delivery) []property {
	redelivered, sent, priority := "", "", ""
	if d.Redelivered {
		redelivered = "true"
	}
	if !d.Timestamp.IsZero() {
		sent = d.Timestamp.UTC().Format(time.RFC3339)
	}
	if d.Priority > 0 {
		priority = strconv.Itoa(int(d.Priority))
	}
	return []property{
		{"Message-Id", d.MessageId},
		{"Exchange", d.Exchange},
		{"Routing-Key", d.RoutingKey},
		{"Redelivered", redelivered},
		{"Timestamp", sent},
		{"Type", d.Type},
		{"Correlation-Id", d.CorrelationId},
		{"Reply-To", d.ReplyTo},
		{"App-Id", d.AppId},
		{"User-Id", d.UserId},
		{"Content-Type", d.ContentType},
		{"Content-Encoding", d.ContentEncoding},
		{"Expiration", d.Expiration},
		{"Priority", priority},
	}
}

// headerToken is what of a name NATS takes in the name of a header.
func headerToken(name string) string {
	token := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, name)
	return token[:min(len(token), maxHeaderName)]
}

// headerText is a header's value as text: that of a table or of a list, such as x-death, is JSON.
func headerText(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case amqp.Table, []any:
		if text, err := json.Marshal(v); err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(value) // numbers, and tables with a number that JSON does not have
}
