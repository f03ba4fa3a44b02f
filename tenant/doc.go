// Package tenant is the model of a community and of what it may do: tiers, configs, feature flags, and the events that
// announce their changes. The package has plain values, no I/O and no clock. Package store keeps the documents in
// Redis, and package watch receives the events.
//
// # Strict and stored
//
// A document from a user is read strictly ([ParseConfig] and the like). A document in a store may come
// from another writer ([ParseStored]): members that arrakis does not know are kept in Unknown, and so survive a write
// of the document. In both cases the error names every fault, not only the first.
//
// # Errors
//
// A [*FieldError] is one fault of a document. A function that finds several faults joins them.
package tenant
