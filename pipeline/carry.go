package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"arrakis/limiter"
	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

// A carried message is one that arrakis itself has stored again, in OVERFLOW or RETRY. Its subject there is not the one
// that it was published to, its sequence and time are new, and JetStream has forgotten how often it was delivered. So
// its headers say where it comes from and what is known of it; see carry and carried. Whatever is asked of a message
// later, such as its age, its attempts, or the dead letter that it becomes, is answered by its origin.

// origin is a message as it was published first.
type origin struct {
	stream   string
	sequence uint64 // in stream
	nanos    int64  // when it was stored, by JetStream's clock, in ns since 1970; see stored
}

// stored is when the message was stored first, by JetStream's clock.
func (o *origin) stored() time.Time { return time.Unix(0, o.nanos) }

// carryHeaders are the headers that only a carried message has.
var carryHeaders = []string{
	contract.HeaderStream, contract.HeaderSequence, contract.HeaderSubject, contract.HeaderFirstStored,
	contract.HeaderAttempt, contract.HeaderAdmitted, contract.HeaderDelivered, contract.HeaderReason, contract.HeaderError,
	contract.HeaderDelayed, contract.HeaderPermit, contract.HeaderShadowed,
}

// carry returns the headers with which d is stored again: its own, without those that JetStream reads, and those of a
// carried message. failed is how many attempts of d have failed. now is the time of this process.
func (d *delivery) carry(failed int, now time.Time) nats.Header {
	h := make(nats.Header, len(d.headers)+len(carryHeaders))
	for name, values := range d.headers {
		if !strings.HasPrefix(name, "Nats-") {
			h[name] = values
		}
	}
	set := func(name, value string) { h[name] = []string{value} }
	set(contract.HeaderStream, d.origin.stream)
	set(contract.HeaderSequence, strconv.FormatUint(d.origin.sequence, 10))
	set(contract.HeaderSubject, d.Subject)
	set(contract.HeaderFirstStored, strconv.FormatInt(d.origin.nanos, 10))
	set(contract.HeaderEventID, d.EventID)
	delete(h, contract.HeaderAttempt)
	if failed > 0 {
		set(contract.HeaderAttempt, strconv.Itoa(failed))
	}
	delete(h, contract.HeaderAdmitted)
	delete(h, contract.HeaderPermit)
	delete(h, contract.HeaderShadowed)
	if a := &d.admission; a.Limited && a.Verdict.Allowed {
		set(contract.HeaderAdmitted, formatVerdict(&a.Verdict, now))
		if permit := a.Permit(); permit != "" {
			set(contract.HeaderPermit, permit)
		}
		if a.Shadowed {
			set(contract.HeaderShadowed, a.LimitedBy.String())
		}
	}
	delete(h, contract.HeaderDelivered)
	if d.comesAgain() {
		set(contract.HeaderDelivered, strconv.FormatUint(d.before+d.delivered, 10))
	}
	delete(h, contract.HeaderReason)
	delete(h, contract.HeaderError)
	delete(h, contract.HeaderDelayed)
	if name := d.admission.Reservation; name != "" {
		set(contract.HeaderDelayed, name)
	}
	return h
}

// carried sets what the headers of d say, for a message that was read from OVERFLOW or RETRY on subject, and removes
// these headers. Of a message that was stored there first, by the ingress, the origin is the message itself. An error
// means that arrakis has not stored this message.
func (d *delivery) carried(subject string, now time.Time) error {
	defer func() {
		for _, name := range carryHeaders {
			delete(d.headers, name)
		}
	}()
	d.Subject = d.header(contract.HeaderSubject)
	route, ok := contract.RouteOf(d.Subject)
	if !ok {
		return fmt.Errorf("%.200q has no %s that arrakis takes messages from: it is %.200q", subject, contract.HeaderSubject, d.Subject)
	}
	d.Kind = route.Kind
	if d.header(contract.HeaderStream) == "" {
		return nil
	}
	number := func(name string, bits int) (n uint64, err error) {
		if text := d.header(name); text != "" {
			if n, err = strconv.ParseUint(text, 10, bits); err != nil {
				err = fmt.Errorf("header %s: %w", name, err)
			}
		}
		return n, err
	}
	sequence, err1 := number(contract.HeaderSequence, 64)
	stored, err2 := number(contract.HeaderFirstStored, 63)
	attempts, err3 := number(contract.HeaderAttempt, 31)
	before, err4 := number(contract.HeaderDelivered, 63)
	d.origin = origin{stream: d.header(contract.HeaderStream), sequence: sequence, nanos: int64(stored)} //nolint:gosec // 63 bits
	d.failed, d.before = int(attempts), before                                                           //nolint:gosec // 31 bits
	var err5, err6 error
	d.admission.Reservation = d.header(contract.HeaderDelayed)
	if text := d.header(contract.HeaderAdmitted); text != "" {
		d.admission.Admitted = true
		d.admission.Verdict, err5 = parseVerdict(text, now)
		if d.source.lane && !d.comesAgain() { // otherwise a handler may have run with the permit
			d.admission.TakeOver(d.header(contract.HeaderPermit))
		}
		if name := d.header(contract.HeaderShadowed); name != "" {
			d.admission.Shadowed = true
			d.admission.LimitedBy, err6 = tenant.ParseAction(name)
		}
	}
	if reason := contract.Reason(d.header(contract.HeaderReason)); slices.Contains(contract.Reasons(), reason) {
		d.disposition = letter(reason, d.header(contract.HeaderError))
		d.counted = true
	}
	return errors.Join(err1, err2, err3, err4, err5, err6)
}

// formatVerdict is the value of HeaderAdmitted.
func formatVerdict(v *limiter.Verdict, now time.Time) string {
	return fmt.Sprintf("%d %d %d", v.Limit, v.Remaining, now.Add(v.ResetAfter).UnixMilli())
}

func parseVerdict(text string, now time.Time) (limiter.Verdict, error) {
	v := limiter.Verdict{Allowed: true}
	var reset int64
	if _, err := fmt.Sscanf(text, "%d %d %d", &v.Limit, &v.Remaining, &reset); err != nil {
		return v, fmt.Errorf("header %s: %.64q: %w", contract.HeaderAdmitted, text, err)
	}
	v.ResetAfter = max(0, time.UnixMilli(reset).Sub(now))
	return v, nil
}
