// Package tenant knows who a community is and what it may do: its tier, its
// config, feature flags, and the events that tell of their changes. It is a
// model: plain values, no I/O, no clock. Package store keeps them in Redis,
// package watch hears of changes.
//
// # Strict and stored
//
// What a user gives ([ParseConfig], [ParseFlag], [ParseTiers]) is read
// strictly. What a store holds ([ParseStored]) may come from other writers:
// members that arrakis does not know are kept in Unknown, and so survive a
// write of the document. Either way every fault is named, not only the first.
//
// # Errors
//
// [*FieldError] says what is wrong with one field of a document. Functions that
// find several join them.
package tenant
