package fleet

import (
	"time"

	"arrakis/pipeline/contract"
	"arrakis/pipeline/lanes"
	"arrakis/pipeline/streams"
)

// State is all workers, and what JetStream and Redis hold, at one moment. It is not changed any more.
type State struct {
	At          time.Time
	Workers     []Worker // by ID; lost and stopped ones too
	More        bool     // there are more than MaxWorkers
	Streams     []streams.Status
	Lanes       []lanes.Status
	DeadLetters DeadLetters
	// Faults say in a sentence what is not known, and why.
	Faults []string
}

// Worker is a worker's last heartbeat. Its State is Lost if it is too old.
type Worker struct {
	*Heartbeat
	Age time.Duration // since the heartbeat
}

// Gone reports whether the worker does not work any more. Its rates and counts are of the past.
func (w *Worker) Gone() bool { return w.State == Lost || w.State == Stopped }

// DeadLetters are the dead letters that wait for somebody to look at them.
type DeadLetters struct {
	Messages uint64
	ByReason map[contract.Reason]uint64 // without those of no message
	Oldest   time.Duration              // age of the oldest by JetStream's clock; 0 without messages
}
