package pipeline

import (
	"cmp"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/contract"
	"arrakis/shard"
)

// delivery is one message on its way through the stages. The stage that holds
// it owns it; sending it to the next gives it away for good.
type delivery struct {
	Message
	admission shard.Admission

	// Set by decode, read-only then.
	source   *source
	msg      jetstream.Msg
	headers  nats.Header // of msg, nil if it has none
	sequence uint64      // in the stream
	stored   time.Time   // by JetStream's clock
	received time.Time   // when this process began to decode it

	// Set by whoever decides how it ends, read by the metrics stage.
	conclusion
	result  json.RawMessage
	latency time.Duration // from received to the handler's end; 0 if it was not handled

	// Owned by the fair queue, under its lock.
	next *delivery
	kept time.Time // when JetStream was last told that it is in progress
}

// Admission makes a delivery a shard.Message.
func (d *delivery) Admission() *shard.Admission { return &d.admission }

// header returns the first value of a header, "" if there is none.
func (d *delivery) header(name string) string {
	if d.headers == nil {
		return ""
	}
	return d.headers.Get(name)
}

// replyTo is where the outcome goes, "" if nobody may be told.
func (d *delivery) replyTo() string {
	if to := d.header(contract.HeaderReplyTo); contract.ValidReplyTo(to) {
		return to
	}
	return ""
}

// outcome is what the caller is told.
func (d *delivery) outcome() contract.Outcome {
	o := contract.Outcome{
		EventID:   d.EventID,
		Community: d.community(),
		Status:    d.status,
		Result:    d.result,
		Error:     d.fail,
	}
	if d.Tenant != nil {
		o.Tier = string(d.Tenant.Tier)
	}
	if r := &d.admission; r.Limited && r.Tenant != nil && d.status != contract.StatusExpired {
		v := r.Verdict
		o.RateLimit = &contract.RateLimit{
			Action:       r.LimitedBy.String(),
			Limit:        v.Limit,
			Remaining:    v.Remaining,
			ResetMS:      contract.Milliseconds(v.ResetAfter),
			RetryAfterMS: contract.Milliseconds(v.RetryAfter),
		}
	}
	return o
}

// community is whom the message belongs to, for its sender and the log: the tenant's community, or what the message
// carries if it ended before its tenant was known.
func (d *delivery) community() string { return cmp.Or(d.Community, d.TenantKey) }
