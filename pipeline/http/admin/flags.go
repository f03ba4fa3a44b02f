package admin

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// shownFlag is a flag as the API gives it, without the members of other
// writers.
func shownFlag(f tenant.Flag) *tenant.Flag {
	f.Unknown = nil
	return &f
}

func (a *api) getFlag(_ http.ResponseWriter, r *http.Request) (answer, error) {
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	f, v, err := a.tenants.GetFlag(r.Context(), r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	return answer{body: shownFlag(f), etag: v}, nil
}

func (a *api) putFlag(w http.ResponseWriter, r *http.Request) (answer, error) {
	ctx, id := r.Context(), r.PathValue("id")
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	body, err := readBody(w, r, jsonType)
	if err != nil {
		return answer{}, err
	}
	_, v, err := a.tenants.GetFlag(ctx, id) // refuses a bad ID, before it gets into the document
	was, err := storedVersion(v, err)
	if err != nil {
		return answer{}, err
	}
	flag, err := tenant.ParseFlag(withID(body, id))
	if err != nil {
		return answer{}, err
	}
	if flag.ID != id {
		return answer{}, fault("id", "is %q, but the path names %q; leave it out or make them the same", flag.ID, id)
	}
	given, err := parseConditions(r)
	if err != nil {
		return answer{}, err
	}
	options, err := given.options(was)
	if err != nil {
		return answer{}, err
	}
	stored, v, err := a.tenants.PutFlag(ctx, flag, options)
	if err != nil {
		return answer{}, err
	}
	return answer{status: createdIf(was == ""), body: shownFlag(stored), etag: v}, nil
}

// withID puts the member id in front of those of an object that has none. Any
// other text is returned as it is, for the parser to refuse.
func withID(body []byte, id string) []byte {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true))
	if start, err := dec.ReadToken(); err != nil || start.Kind() != '{' {
		return body
	}
	brace := dec.InputOffset()
	members := 0
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil || name.String() == "id" {
			return body
		}
		if err := dec.SkipValue(); err != nil {
			return body
		}
		members++
	}
	out := append([]byte(nil), body[:brace]...)
	out = append(out, `"id":"`+id+`"`...) // an ID holds nothing to be escaped
	if members > 0 {
		out = append(out, ',')
	}
	return append(out, body[brace:]...)
}

func (a *api) deleteFlag(_ http.ResponseWriter, r *http.Request) (answer, error) {
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	ifMatch, err := versionToDelete(r, a.tenants.GetFlag)
	if err != nil {
		return answer{}, err
	}
	return answer{}, a.tenants.DeleteFlag(r.Context(), r.PathValue("id"), ifMatch)
}

// listedFlag is one flag of a list.
type listedFlag struct {
	ID   string `json:"id"`
	ETag string `json:"etag"`
	*tenant.Flag
	Error string `json:"error,omitempty"` // why the document cannot be used, instead of a flag
}

// listFlags pages through what is read whole: there are at most a thousand. A
// cursor is the ID of the last flag of its page.
func (a *api) listFlags(_ http.ResponseWriter, r *http.Request) (answer, error) {
	q, err := query(r, "limit", "cursor")
	if err != nil {
		return answer{}, err
	}
	limit, err := pageLimit(q)
	if err != nil {
		return answer{}, err
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err != nil || len(after) > 0 && !tenant.ValidFlagID(string(after)) {
		return answer{}, store.ErrCursor
	}
	entries, err := a.tenants.ListFlags(r.Context())
	if err != nil {
		return answer{}, err
	}
	first, found := slices.BinarySearchFunc(entries, string(after), func(e store.FlagEntry, id string) int { return cmp.Compare(e.ID, id) })
	if found {
		first++
	}
	entries = entries[first:]
	next := ""
	if len(entries) > limit {
		entries = entries[:limit]
		next = base64.RawURLEncoding.EncodeToString([]byte(entries[limit-1].ID))
	}
	listed := make([]listedFlag, len(entries))
	for i, e := range entries {
		listed[i] = listedFlag{ID: e.ID, ETag: entityTag(e.Version)}
		if e.Err != nil {
			listed[i].Error = e.Err.Error()
		} else {
			listed[i].Flag = shownFlag(e.Flag)
		}
	}
	body := struct {
		Flags []listedFlag `json:"flags"`
		Next  string       `json:"next,omitempty"`
	}{listed, next}
	return answer{body: body, next: nextPage(r, q, next)}, nil
}
