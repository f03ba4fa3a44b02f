package store

import (
	"context"
	"strings"
)

// maxOrigin is how many bytes are kept of each member of an [Origin].
const maxOrigin = 128

// Origin says who makes a change, from where, and on which request. Nothing in it may be a secret.
type Origin struct {
	// Actor is the kind and the name of who makes the change: "api:ada" or "console:ada" by the token called ada, "cli:root"
	// by the command line of the user root, or "discord".
	Actor string
	// From is the address of a client, or the host of a command line. It is empty if nobody knows.
	From string
	// RequestID is the ID of the request, or of the run of a command. Logs have it too. It may be empty.
	RequestID string
}

type originKey struct{}

// WithOrigin returns a context whose changes are of o. Of each member 128 bytes are kept, and visible ASCII alone: no
// terminal or page can take it for anything else.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, Origin{Actor: plain(o.Actor), From: plain(o.From), RequestID: plain(o.RequestID)})
}

// OriginOf returns the origin that ctx carries, as far as WithOrigin has kept it. The zero value means that there is none.
func OriginOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	return o
}

func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), maxOrigin)]
}

// legacyOrigin splits the actor of an entry that an earlier version has written, such as "api:admin@10.0.0.1": where it
// came from was a part of it.
func legacyOrigin(actor string) Origin {
	if at := strings.LastIndexByte(actor, '@'); at >= 0 {
		return Origin{Actor: actor[:at], From: actor[at+1:]}
	}
	return Origin{Actor: actor}
}
