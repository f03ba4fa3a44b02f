// Package contract defines what travels on the wire: the gateway's envelope, the outcome that answers an envelope, and
// the names of subjects, streams, headers and reasons. The package does no I/O; everything in it is safe for concurrent
// use.
//
// # Strictness
//
// [Decode] accepts exactly the JSON of RFC 8259 and refuses JSON that two readers could understand differently (RFC
// 7493, I-JSON): duplicate member names at any depth, invalid UTF-8, unpaired surrogates, bytes after the value,
// and nesting deeper than [MaxDepth]. Unknown members pass through: the body that handlers receive is the body that
// arrived, byte for byte.
//
// The package has a scanner of its own, because the hot path leaves about a microsecond for decoding. `go test
// -bench Decode ./pipeline/contract` compares the scanner with jsontext of go-json-experiment, which is as strict,
// and with encoding/json, which is not. The fuzz test checks the scanner's results against jsontext's.
package contract
