package ops

import (
	"net"
	"net/http"

	"arrakis/pipeline/http/auth"
	"arrakis/pipeline/http/requestid"
	"arrakis/tenant/store"
)

// origin says who sends the request, for the audit log and for logs. Behind a proxy the address is the proxy's. h has the
// request's ID.
func origin(h http.Header, r *http.Request, g auth.Grant) store.Origin {
	by := "api"
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" { // sent by a page of this address
		by = "console"
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	return store.Origin{Actor: by + ":" + g.Name, From: from, RequestID: h.Get(requestid.Header)}
}
