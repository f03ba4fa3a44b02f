package fakediscord

import (
	"encoding/json"
	"net/http"
	"strings"
)

// apiError is an error answer of the API, in Discord's form.
type apiError struct {
	Status  int            `json:"-"`
	Message string         `json:"message"`
	Code    int            `json:"code"`
	Errors  map[string]any `json:"errors,omitempty"`
}

// The errors that calls with an interaction's token get.
var (
	errAlreadyAnswered    = &apiError{Status: 400, Code: 40060, Message: "Interaction has already been acknowledged."}
	errEmptyMessage       = &apiError{Status: 400, Code: 50006, Message: "Cannot send an empty message"}
	errUnauthorized       = &apiError{Status: 401, Code: 0, Message: "401: Unauthorized"}
	errInvalidToken       = &apiError{Status: 401, Code: 50027, Message: "Invalid Webhook Token"}
	errUnknownMessage     = &apiError{Status: 404, Code: 10008, Message: "Unknown Message"}
	errUnknownWebhook     = &apiError{Status: 404, Code: 10015, Message: "Unknown Webhook"}
	errUnknownInteraction = &apiError{Status: 404, Code: 10062, Message: "Unknown interaction"}
	errUnknownApplication = &apiError{Status: 404, Code: 10002, Message: "Unknown Application"}
)

// invalidForm is the error about one field, such as "content" or "0.options.1.name".
func invalidForm(field, code, text string) *apiError {
	var fault any = map[string]any{"_errors": []any{map[string]string{"code": code, "message": text}}}
	parts := strings.Split(field, ".")
	for i := len(parts) - 1; i >= 0; i-- {
		fault = map[string]any{parts[i]: fault}
	}
	return &apiError{Status: 400, Code: 50035, Message: "Invalid Form Body", Errors: fault.(map[string]any)}
}

// writeError writes the error as the answer.
func writeError(w http.ResponseWriter, e *apiError) { writeJSON(w, e.Status, e) }

// writeJSON writes the value as the answer.
func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client is gone
}
