package streams

import (
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// Codes of JetStream's errors for which nats.go has no name.
const (
	codeAccountStorage jetstream.ErrorCode = 10002 // the account has used up its storage
	codeNoPeers        jetstream.ErrorCode = 10005 // too few servers of the cluster have room
	codeResources      jetstream.ErrorCode = 10023 // the server has used up its own
	codeServerMemory   jetstream.ErrorCode = 10028 // a stream reserves more memory than the server has left
	codeServerStorage  jetstream.ErrorCode = 10047 // a stream reserves more disk space than the server has left
	codeNoCluster      jetstream.ErrorCode = 10074 // a server that is in no cluster has no replicas
	codeNotStored      jetstream.ErrorCode = 10077 // the stream is at one of its bounds, or its disk cannot be written
)

// Full reports whether err, of a publish, says that the message was refused because there is no room for it: its stream
// is at one of its bounds, or the storage of the account or the server is used up.
func Full(err error) bool { return hasCode(err, codeNotStored, codeAccountStorage, codeResources) }

func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
}
