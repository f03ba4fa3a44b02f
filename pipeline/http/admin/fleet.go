package admin

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/pipeline/http/body"
	"arrakis/pipeline/view"
	"arrakis/shard"
	"arrakis/tenant/store"
)

// usage shows the limits also while JetStream does not answer. Then nobody knows what waits in lanes.
func (a *api) usage(_ http.ResponseWriter, r *http.Request) (answer, error) {
	used, err := a.limits.Usage(r.Context(), r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	u := view.Usage{Usage: used}
	if found, err := a.lanes(r.Context(), used.Community); err == nil {
		list := view.NewLanes(found)
		u.Lanes = &list
	} else {
		a.log.WarnContext(r.Context(), "what waits in lanes is not known", "community_id", used.Community, "err", err)
	}
	return answer{body: u}, nil
}

func (a *api) reset(_ http.ResponseWriter, r *http.Request) (answer, error) {
	actions, err := shard.ParseActions(r.PathValue("action"))
	if err != nil {
		return answer{}, err
	}
	done, err := a.limits.Reset(r.Context(), r.PathValue("id"), actions...)
	return answer{body: done}, err
}

// recordTimeout bounds an entry of the audit log that is added after the change.
const recordTimeout = 5 * time.Second

// record adds what was done with dead letters to the audit log, also if the client is gone meanwhile: who closes a
// connection must not leave a change that nobody has made. What is done is not undone if Redis does not answer.
func (a *api) record(ctx context.Context, e store.AuditEntry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := a.tenants.Record(ctx, e); err != nil {
		a.log.ErrorContext(ctx, "a change is not in the audit log", "type", e.Type, "target", e.Target,
			"request_id", store.OriginOf(ctx).RequestID, "err", err)
	}
}

func (a *api) reload(w http.ResponseWriter, r *http.Request) (answer, error) {
	data, err := readBody(w, r, body.JSON)
	if err != nil {
		return answer{}, err
	}
	community, err := parseReload(data, r.URL.Query().Get("community"))
	if err != nil {
		return answer{}, err
	}
	if err := a.tenants.NotifyReload(r.Context(), community); err != nil {
		return answer{}, err
	}
	return answer{body: map[string]string{"reload": cmp.Or(community, "everything")}}, nil
}

// parseReload returns the community to reload, or "" for everything. The community is in the body, which may be empty,
// or in the query.
func parseReload(data []byte, inQuery string) (string, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return inQuery, nil
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return "", fault("body", `must be empty or a JSON object such as {"community":"comm_007"}`)
	}
	community := ""
	for name, raw := range members {
		if name != "community" {
			return "", fault(name, "is unknown; known are community")
		}
		if err := json.Unmarshal(raw, &community); err != nil {
			return "", fault(name, "must be a string, or null for everything")
		}
	}
	if community != "" && inQuery != "" {
		return "", fault("community", "is given in the query and in the body; keep one")
	}
	return cmp.Or(community, inQuery), nil
}
