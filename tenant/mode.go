package tenant

// Mode says whether the limits of a tenant are enforced.
type Mode string

// The modes. Enforce is the default.
const (
	Enforce Mode = "enforce" // a message over a limit is rejected, or delayed
	Shadow  Mode = "shadow"  // limits are decided and counted, but every message passes
)

const modeNames = "enforce or shadow"

func validateMode(f *faults, field string, m *Mode) {
	if m != nil && *m != Enforce && *m != Shadow {
		f.add(field, "is unknown: %q; use %s", shorten(string(*m)), modeNames)
	}
}

// Mode is the mode of the tenant.
func (t *Tenant) Mode() Mode {
	if t.Shadow {
		return Shadow
	}
	return Enforce
}
