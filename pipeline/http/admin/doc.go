// Package admin is what operators do to a running fleet: tenants, feature
// flags, used limits, reloads and dead letters. [Handler] offers it by HTTP;
// [Limits] is the part that the command line shares.
//
//	GET, PUT, PATCH, DELETE  /v1/tenants/{id}
//	GET                      /v1/tenants                      ?limit= ?cursor=
//	GET                      /v1/tenants/{id}/usage
//	DELETE                   /v1/tenants/{id}/usage[/{action}]
//	GET, PUT, DELETE         /v1/flags/{id}
//	GET                      /v1/flags                        ?limit= ?cursor=
//	POST                     /v1/reload                       ?community= or {"community":"…"}
//	GET                      /v1/deadletters                  ?limit= ?cursor= ?stream= ?reason=
//	POST                     /v1/deadletters/{seq}/replay
//
// HEAD is served wherever GET is. Who may call it is the ops address's
// business.
//
// # Documents
//
// A document is read as strictly as on the command line, by the same code in
// package tenant: every fault is named, unknown members and unknown query
// parameters among them. What GET returns may be put back by PUT. Members that
// other writers have put into Redis are not shown, and are kept by every
// write.
//
// {id} is the ID that messages carry. A config's communityId may be another
// one, so that several guilds are one community; left out it is {id}. A flag's
// id may be left out, and must otherwise be {id}.
//
// PUT replaces the document: overrides that it leaves out are given back to
// the tier. PATCH is a JSON merge patch (RFC 7396), taken literally: it changes
// what it names and nothing else, and starts from the free default where
// nothing is stored. So {"tier":"pro"} keeps the tenant's own limits and
// features, and {"tier":"pro","rateLimits":null,"features":null} clears them, as
// `arrakis tenant upgrade` does.
//
// # Concurrency
//
// Every document has a strong ETag. With If-Match, PUT, PATCH and DELETE change
// only that version, or with * only what exists; with If-None-Match: * PUT only
// creates. A condition that does not hold is 412. Without one PUT replaces
// whatever is there, and of concurrent PATCHes none is lost.
//
// # Lists
//
// limit is 1 to 1000 and defaults to 100. A list that has more ends with next,
// the cursor of the next page, which the header Link gives as an address. Only
// the absence of next says that a list is complete: pages may be short. An
// entry's etag is what If-Match takes, quotes included.
//
// # Errors
//
// Errors are problem documents, as on the ingress: 400 with the fields at
// fault, 404, 405, 409, 412, 413, 415, 500 for a document in Redis that cannot
// be used, and 503 with Retry-After while Redis or NATS is away. No answer may
// be cached.
package admin
