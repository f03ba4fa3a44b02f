package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"

	"arrakis/pipeline/contract"
)

// resultError means that a handler succeeded, but what it returned cannot be sent.
type resultError struct{ err error }

func (e *resultError) Error() string {
	return fmt.Sprintf("the handler's result cannot be sent: %v", e.err)
}

func (e *resultError) Unwrap() error { return e.err }

// encodeResult encodes what a handler returned as JSON. An error is a [*resultError].
func encodeResult(result any) (json.RawMessage, error) {
	var text []byte
	switch r := result.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		text = r
	default:
		var err error
		if text, err = json.Marshal(result); err != nil {
			return nil, &resultError{err}
		}
	}
	checked, err := contract.Result(text)
	if err != nil {
		return nil, &resultError{err}
	}
	return checked, nil
}

// replyResult is the result in the body of a micro service's reply. A body that is not JSON at all becomes a string. JSON
// that cannot be sent is a [*resultError].
func replyResult(body []byte) (json.RawMessage, error) {
	if len(body) == 0 {
		return nil, nil
	}
	checked, err := contract.Result(body)
	switch {
	case err == nil:
		return checked, nil
	case json.Valid(body):
		return nil, &resultError{err}
	default:
		return encodeResult(strings.ToValidUTF8(string(body), "\uFFFD"))
	}
}
