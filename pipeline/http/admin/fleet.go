package admin

import (
	"bytes"
	"cmp"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func (a *api) usage(_ http.ResponseWriter, r *http.Request) (answer, error) {
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	u, err := a.limits.Usage(r.Context(), r.PathValue("id"))
	return answer{body: u}, err
}

func (a *api) reset(_ http.ResponseWriter, r *http.Request) (answer, error) {
	if _, err := query(r); err != nil {
		return answer{}, err
	}
	actions, err := ParseActions(r.PathValue("action"))
	if err != nil {
		return answer{}, err
	}
	done, err := a.limits.Reset(r.Context(), r.PathValue("id"), actions...)
	return answer{body: done}, err
}

func (a *api) reload(w http.ResponseWriter, r *http.Request) (answer, error) {
	q, err := query(r, "community")
	if err != nil {
		return answer{}, err
	}
	body, err := readBody(w, r, jsonType)
	if err != nil {
		return answer{}, err
	}
	community, err := parseReload(body, q.Get("community"))
	if err != nil {
		return answer{}, err
	}
	if err := a.tenants.NotifyReload(r.Context(), community); err != nil {
		return answer{}, err
	}
	return answer{body: map[string]string{"reload": cmp.Or(community, "everything")}}, nil
}

// parseReload finds the community to reload, "" for everything, in the body,
// which may be empty, or in the query.
func parseReload(body []byte, asked string) (string, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return asked, nil
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return "", fault("body", `must be empty or a JSON object such as {"community":"comm_007"}`)
	}
	community := ""
	for name, raw := range members {
		if name != "community" {
			return "", fault(shorten(name), "is unknown; known are community")
		}
		if err := json.Unmarshal(raw, &community); err != nil {
			return "", fault(name, "must be a string, or null for everything")
		}
	}
	if community != "" && asked != "" {
		return "", fault("community", "is given in the query and in the body; keep one")
	}
	return cmp.Or(community, asked), nil
}
