// Package contract is the contract on the wire: the gateway's envelope, the
// outcome that answers it, and the names of subjects, streams, headers and
// reasons. It does no I/O; everything in it is safe for concurrent use.
//
// # Strictness
//
// [Decode] accepts exactly the JSON of RFC 8259 and refuses what two readers
// could understand differently (RFC 7493, I-JSON): duplicate member names at
// any depth, invalid UTF-8, unpaired surrogates, bytes after the value, and
// nesting deeper than [MaxDepth]. Unknown members pass through: the body that
// handlers receive is the body that arrived, byte for byte.
//
// The scanner is this package's own because the hot path leaves about a
// microsecond for it. `go test -bench Decode ./pipeline/contract` compares it in
// one run with the same strictness from go-json-experiment's jsontext, which
// is also the oracle of its fuzz test, and with encoding/json, which is not
// strict.
package contract
