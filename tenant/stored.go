package tenant

// ParseStored reads a document that a store holds, where other writers may
// have added members: those are kept in Unknown, and timestamps that are not
// RFC 3339 are passed over. All else is refused as the strict parsers do.
func ParseStored[T Config | Flag | Tiers](data []byte) (T, error) {
	var doc T
	var err error
	switch doc := any(&doc).(type) {
	case *Config:
		var r reader
		if r.check(data) {
			doc.read(&r, data)
			doc.validate(&r.faults)
		}
		err = r.err()
	case *Flag:
		*doc, err = readFlag(&reader{}, data)
	case *Tiers:
		*doc, err = readTiers(&reader{}, data)
	}
	return doc, err
}
