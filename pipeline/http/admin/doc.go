// Package admin serves what operators do to running workers: they read and
// change tenants, feature flags, used limits and dead letters. [Handler] is the
// HTTP API. Documents are shown as package view says.
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
// HEAD is served wherever GET is. The API asks for no token: package ops checks
// the token before it passes a request on.
//
// # Documents
//
// Package tenant reads documents, as strictly as for the command line: every
// fault is named, unknown members among them. Unknown query parameters are
// refused too. What GET returns may be put back by PUT. Members that other
// writers have put into Redis are not shown, and every write keeps them.
//
// {id} of a tenant is the ID that messages carry. A config's communityId may be
// another ID, so that several guilds are one community; its default is {id}. A
// flag's id may be left out, and must otherwise be {id}.
//
// PUT replaces the document: overrides that it leaves out are reset to the
// defaults of the tier. PATCH is a JSON merge patch (RFC 7396): it changes only
// the members that it names, and starts from a free tenant where nothing is
// stored. So {"tier":"pro"} keeps the tenant's own limits and features, and
// {"tier":"pro","rateLimits":null,"features":null} clears them, as `arrakis
// tenant upgrade` does.
//
// # Concurrency
//
// Every document has a strong ETag. With If-Match, PUT, PATCH and DELETE change
// only that version, or with * any version but only if there is one. With
// If-None-Match: * PUT only creates. A condition that does not hold is 412.
// Without a condition PUT replaces any version, and no concurrent PATCH is lost.
//
// # Lists
//
// limit is 1 to 1000 and defaults to 100. A page that is not the last ends with
// next, the cursor of the next page; the header Link has the next page's address.
// Pages may be short, so only the absence of next says that a list is complete.
// An entry's etag is the value for If-Match, quotes included.
//
// # Errors
//
// Errors are problem documents, as on the ingress: 400 with the fields at
// fault, 404, 405, 409, 412, 413, 415, 500 for a document in Redis that cannot
// be used, and 503 with Retry-After while Redis or NATS is away. Answers forbid
// caching.
package admin
