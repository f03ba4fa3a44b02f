package pipeline

// maxTroubles bounds the errors that a trouble remembers. A further one counts as known.
const maxTroubles = 16

// trouble says which errors of something that is tried again and again are new, so that each is logged once, until it
// works again. It belongs to one goroutine.
type trouble struct {
	known map[string]bool // by text
}

// isNew reports whether err has not come since it worked.
func (t *trouble) isNew(err error) bool {
	text := err.Error()
	if t.known[text] || len(t.known) >= maxTroubles {
		return false
	}
	if t.known == nil {
		t.known = make(map[string]bool)
	}
	t.known[text] = true
	return true
}

// over says that it works. It reports whether it did not before.
func (t *trouble) over() bool {
	was := len(t.known) > 0
	t.known = nil
	return was
}
