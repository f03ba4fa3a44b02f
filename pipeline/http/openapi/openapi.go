// Package openapi serves the description of both HTTP addresses, as OpenAPI 3.1, at /openapi.json. The document is the
// file openapi.json beside this one, which is written by hand and served as it is.
//
// Who changes what the ingress or the ops address serves changes the document too. Tests hold them together: those of
// this package find paths and problems that it does not describe, and those of loadtest/openapi compare it with the
// answers of a real worker.
package openapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"

	"arrakis/pipeline/http/problem"
)

// Path is where the document is served, on either address.
const Path = "/openapi.json"

//go:embed openapi.json
var document []byte

// Handler serves the document to GET and HEAD, and answers every other method with a problem. It asks for no token: the
// document is the same for everybody and holds no secret.
func Handler() http.Handler {
	hash := sha256.Sum256(document)
	etag := `"` + hex.EncodeToString(hash[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			_ = problem.MethodNotAllowed(h, r, "GET, HEAD").Write(w) // an error only means that the client is gone
			return
		}
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "no-cache") // it may be kept, but another version may run when it is asked for again
		h.Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(document))
	})
}
