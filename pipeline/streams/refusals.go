package streams

import (
	"errors"
	"fmt"
	"strings"
)

// refusals collects the errors of changes.
type refusals struct {
	errs    error
	streams []string       // that cannot have the replicas
	few     *replicasError // of the last of them
}

// replicasError means that JetStream has too few servers for a stream's replicas. No stream can have them then.
type replicasError struct {
	replicas int
	err      error // of JetStream
}

func (e *replicasError) Error() string {
	return fmt.Sprintf("%d replicas need a cluster of at least %[1]d nats-servers with JetStream and room for them, "+
		"which this is not: lower STREAM_REPLICAS (--stream-replicas), or add servers; %v", e.replicas, e.err)
}

func (e *replicasError) Unwrap() error { return e.err }

// tooFewServers is a *replicasError if that is what err means, of making a stream with the replicas. Otherwise it is
// err.
func tooFewServers(err error, replicas int) error {
	if replicas > 1 && hasCode(err, codeNoCluster, codeNoPeers) {
		return &replicasError{replicas, err}
	}
	return err
}

func (r *refusals) add(c Change, err error) {
	if errors.As(err, &r.few) {
		r.streams = append(r.streams, c.Stream)
		return
	}
	r.errs = errors.Join(r.errs, fmt.Errorf("%s: %w", c, err))
}

// err has a line for each change that was refused, but for the replicas, which are the same fault for all streams.
func (r *refusals) err() error {
	if r.few == nil {
		return r.errs
	}
	return errors.Join(fmt.Errorf("streams %s: %w", strings.Join(r.streams, ", "), r.few), r.errs)
}
