package contract

import (
	"encoding/json"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// Result returns text as the result of an [Outcome]. It is the one rule for what a handler may answer, and worker and
// ingress agree on it: [DecodeOutcome] accepts every outcome with such a result. A result is JSON as strict as that of
// [Decode], nested one level less deep than [MaxDepth]. What is no Unicode, such as half of a surrogate pair in a
// clipped text, becomes U+FFFD, because the handler has done its work and its answer is worth more than that character.
// All else is an error. Result allocates nothing if text is strict.
func Result(text []byte) (json.RawMessage, error) {
	err := checkResult(text)
	if err == nil {
		return text, nil
	}
	mended, failed := jsontext.AppendFormat(nil, text, jsontext.AllowInvalidUTF8(true))
	if failed != nil || checkResult(mended) != nil {
		return nil, err
	}
	return json.RawMessage(mended), nil
}

func checkResult(text []byte) error {
	d, _ := decoders.Get().(*decoder)
	defer d.release()
	d.text = unsafe.String(unsafe.SliceData(text), len(text)) //nolint:gosec // as in decode
	d.depth = 1                                               // the outcome around the result
	d.space()
	if err := d.value(); err != nil {
		return err
	}
	return d.end()
}
