package admin

import (
	"net/http"

	"arrakis/pipeline/view"
)

// explain says what a command of a community would get now, and why. It charges nothing.
func (a *api) explain(_ http.ResponseWriter, r *http.Request) (answer, error) {
	query := r.URL.Query()
	command, user := query.Get("command"), query.Get("user")
	if err := view.CheckCommand(command); err != nil {
		return answer{}, err
	}
	e, err := a.limits.Explain(r.Context(), r.PathValue("id"), user)
	if err != nil {
		return answer{}, err
	}
	return answer{body: view.NewExplanation(e, command, user)}, nil
}
