// Package admin serves the HTTP API with which operators read and change tenants, accounts, feature flags, used limits and dead
// letters of running workers. Package view defines the JSON documents.
//
//	GET, PUT, PATCH, DELETE  /v1/tenants/{id}
//	GET                      /v1/tenants                      ?limit= ?cursor= ?q=
//	POST, DELETE             /v1/tenants/{id}/boost
//	GET                      /v1/tenants/{id}/usage
//	GET                      /v1/tenants/{id}/explain         ?command= ?user=
//	DELETE                   /v1/tenants/{id}/usage[/{action}]
//	GET, PUT, PATCH, DELETE  /v1/accounts/{id}                ?force=
//	GET                      /v1/accounts                     ?limit= ?cursor=
//	GET                      /v1/accounts/{id}/communities    ?limit= ?cursor=
//	GET, PUT, DELETE         /v1/flags/{id}
//	GET                      /v1/flags                        ?limit= ?cursor=
//	GET                      /v1/audit                        ?limit= ?cursor= ?target= ?type= ?since=
//	POST                     /v1/reload                       ?community= or {"community":"…"}
//	GET                      /v1/deadletters                  ?limit= ?cursor= ?order= ?stream= ?reason= ?community=
//	GET, DELETE              /v1/deadletters/{seq}
//	POST                     /v1/deadletters/{seq}/replay
//	POST                     /v1/deadletters/replay           {"seqs":[…]} or {"filter":{…}}, and "cursor"
//	POST                     /v1/deadletters/purge            the same
//	GET                      /v1/fleet
//	GET                      /v1/stream                       server-sent events
//
// Every path with GET but /v1/stream also serves HEAD. The API itself asks for no token: package ops checks the token
// before it passes a request on, and says what it gives ([auth.GrantOf]). Whoever may look may send GET and HEAD; each change
// needs a scope, which the table of routes says. A PATCH of a tenant or an account with the scope limits alone may have only the members
// that are about limits.
//
// # Documents
//
// Package tenant reads documents, as strictly as for the command line. An error names every fault, also unknown
// members. Unknown query parameters are refused. A document that GET returned may be sent back by PUT. Members that
// other writers have put into Redis are not shown, but every write keeps them.
//
// The {id} of a tenant is the ID that messages carry. A config's communityId may be another ID, so that several guilds
// are one community; it defaults to {id}. The id in a flag may be left out; if given, it must be {id}.
//
// PUT replaces the document: overrides that it leaves out are reset to the defaults of the tier. PATCH is a JSON merge
// patch (RFC 7396): it changes only the members that it names. If no document is stored, it starts from a free tenant.
// So {"tier":"pro"} keeps the tenant's own limits and features, and {"tier":"pro","rateLimits":null,"features":null}
// clears them, as `arrakis tenant upgrade` does.
//
// # Accounts
//
// A tenant whose document has an account is in it: [tenant.Account] says what follows. PUT and PATCH refuse an account that
// is not stored, unless the tenant is in it already. DELETE of an account answers 409 while a tenant is in it, unless
// ?force=true; to know that, it reads all tenants. The list of an account's communities has the form of the list of tenants,
// and reads up to 10,000 tenants for a page, so one may be short, or empty, although more pages follow.
//
// # Boosts
//
// POST to /v1/tenants/{id}/boost raises limits for a time. {"rateLimits":{"commandsPerMinute":500},"for":"2h"} adds 500
// commands a minute to the limit that is in force otherwise, from now on and for two hours by the clock of Redis. It
// replaces an earlier boost of the same limit. DELETE ends all boosts of a tenant. Both answer with the tenant, whose
// member boosts says until when. A boost ends by itself, on every worker at the same time; the next write of the tenant
// drops it from the document. A PUT of a tenant without boosts ends them; PATCH can end or change a single one.
//
// # Concurrency
//
// Every document has a strong ETag. With If-Match and an ETag, PUT, PATCH and DELETE, and the POST of a boost, change
// only that version of the document. With If-Match: * they change any version, but do not create a document. With
// If-None-Match: * PUT only creates. The answer for a condition that does not hold is 412. Without a condition, PUT
// replaces any version, and concurrent PATCHes are all applied.
//
// # Lists
//
// limit is 1 to 1000 and defaults to 100. A page that is not the last ends with next, the cursor of the next page; the
// header Link has the address of the next page. A page may have fewer than limit entries, so only the absence of next
// means that a list is complete. An entry's etag is the value for If-Match, quotes included.
//
// With q, the list has the tenants whose ID contains that text, whatever the case of letters, in the order of their IDs
// (an empty q is in all of them), and says how many match in all. It searches the [store.Directory] of this process, which
// knows of a new tenant a moment after it was stored.
//
// The audit log is listed with the newest change first. target is the ID of a tenant, a flag or a dead letter; type is one
// of [store.AuditTypes]. A page with one of them may be short, or empty, although more pages follow. since is as
// [view.ParseSince] reads it.
//
// Dead letters are listed the oldest first, or with order=newest. A list with community= looks at dead letters for 2 s: a
// page with few entries, or none, that ends with next says that there is more to look at.
//
// # Bulk runs
//
// A replay or purge of many dead letters is done part by part. The client sends the same body again with the next of the
// answer as "cursor", until an answer has no next:
//
//	{"filter":{"community":"comm_007","reason":"panic","stream":"COMMANDS"},"cursor":"1.201.450"}
//	{"done":200,"gone":0,"failed":[{"seq":7,"error":"…"}],"progress":0.44,"next":"1.201.450"}
//
// A part is up to 200 dead letters, or what 5 s allow. A run over a filter ends at what was the newest dead letter when it
// began; {} selects all. "seqs" names up to 1000. What cannot be replayed is in failed, and stays. What another client has
// done meanwhile is gone. The server keeps nothing of a run: a client that stops asking has stopped it, a part may be sent
// again when its answer was lost, and several clients may do the same at once. No message is replayed twice. The audit log
// has one entry for a run, with what its first part has done.
//
// # The fleet
//
// /v1/fleet shows all workers, as their last heartbeats describe them, and streams, consumers, lanes and dead letters: a
// [view.Fleet], no older than about a second. /v1/stream sends the same each second as the event fleet, and a [view.Change]
// as the event change when a change of configuration has reached the process that is asked. A client that is slow misses
// states, and no changes. It ends with the session, and when the process shuts down.
//
// # Errors
//
// Errors are problem documents, as on the ingress: 400 with the fields at fault, 404, 405, 409, 412, 413, 415, 500 for
// a document in Redis that cannot be used, and 503 with Retry-After while Redis or NATS is away. All answers forbid
// caching.
package admin
