package shard

// LetPass reports whether a message that a limit has refused passes all the same, because the tenant is in shadow mode.
// Then it admits the message, without a permit, and marks it as Shadowed if its limit is used up. (Under the policy
// closed a limit that cannot be checked refuses too; that says nothing of the limit.)
func (a *Admission) LetPass() bool {
	if !a.Tenant.Shadow {
		return false
	}
	a.Shadowed = a.Shadowed || !a.Verdict.Unavailable
	a.Verdict.Allowed = true
	a.user = nil // its permit, if it took one, was given back
	return true
}

// PassReserved admits a message of a tenant in shadow mode at once, with the permit that is reserved for it and will be
// free later. So reservations use the limit up as they do when it is enforced.
func (a *Admission) PassReserved() {
	a.Verdict.Allowed = true
	a.TakeOver(a.permitID())
}
