package pipeline

import (
	"strings"
	"sync"

	"arrakis/pipeline/contract"
)

const (
	// maxNames bounds the names of one kind that become label values.
	maxNames = 200
	// maxNumber is the number of the last known name, of all kinds.
	maxNumber = maxNames * int(contract.NumKinds)
)

// names are the commands, check types and event types that some handler is known to answer. All other names share one
// label value, because senders can make up any number of them. names is safe for concurrent use.
type names struct {
	mu   sync.RWMutex                            // protects the fields below
	sets [contract.NumKinds]map[string]knownName // by name
	last uint16                                  // number that was given
}

// knownName is a name, and where a micro service for it listens. The texts are made once and used for every message.
type knownName struct {
	name, subject string
	number        uint16 // from 1 to maxNumber, among the names of all kinds
}

func newNames(registries ...*Handlers) *names {
	n := &names{}
	for k := range n.sets {
		n.sets[k] = make(map[string]knownName)
	}
	for _, h := range registries {
		h.each(n.add)
	}
	for _, checkType := range []string{"single", "batch", "community_sync"} { // the check types of the contract
		n.add(contract.KindEligibility, checkType)
		n.add(contract.KindSync, checkType)
	}
	return n
}

// add makes name known. Beyond maxNames it stays unknown.
func (n *names) add(k contract.Kind, name string) {
	if _, ok := n.find(k, name); ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.sets[k][name]; !ok && len(n.sets[k]) < maxNames { // another goroutine may have added it by now
		// The name is a part of a message's text: a copy does not keep that text in memory.
		name = strings.Clone(name)
		n.last++
		n.sets[k][name] = knownName{name, contract.HandlerSubject(k, name), n.last}
	}
}

func (n *names) find(k contract.Kind, name string) (knownName, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	known, ok := n.sets[k][name]
	return known, ok
}

// label is the label value for name. It shares no memory with name.
func (n *names) label(k contract.Kind, name string) string {
	if known, ok := n.find(k, name); ok {
		return known.name
	}
	return contract.UnknownCommand
}

// subject is where a micro service for name listens. known is the name's number, 0 if it is not known.
func (n *names) subject(k contract.Kind, name string) (subject string, known uint16) {
	if known, ok := n.find(k, name); ok {
		return known.subject, known.number
	}
	return contract.HandlerSubject(k, name), 0
}
