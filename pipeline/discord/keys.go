package discord

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
)

// maxKeys is how many public keys can be in force at once: two while one is rotated, and some for further applications.
const maxKeys = 8

// maxTimestamp is how many bytes the timestamp of a request may have. A Unix time in seconds has ten.
const maxTimestamp = 32

// Keys are the public keys of an application, by which Discord's requests are told from those of others. The zero value
// has no key: it verifies nothing. It must not be changed.
type Keys []ed25519.PublicKey

// ParseKeys reads 1 to 8 public keys as the developer portal shows them: 64 hexadecimal digits each. While a key is
// rotated, the old one and the new one are both in force.
func ParseKeys(texts ...string) (Keys, error) {
	if len(texts) == 0 || len(texts) > maxKeys {
		return nil, fmt.Errorf("expected 1 to %d public keys of Discord, got %d", maxKeys, len(texts))
	}
	keys := make(Keys, 0, len(texts))
	for i, text := range texts {
		key, err := hex.DecodeString(text)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("public key %d of Discord: expected %d hexadecimal digits, as the developer portal shows them",
				i+1, hex.EncodedLen(ed25519.PublicKeySize))
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Verify reports whether signature, the header X-Signature-Ed25519, is that of one of the keys for timestamp, the header
// X-Signature-Timestamp, and for the body as it came. How old the timestamp may be is for the caller to say.
func (k Keys) Verify(timestamp string, body []byte, signature string) bool {
	if timestamp == "" || len(timestamp) > maxTimestamp || len(signature) != hex.EncodedLen(ed25519.SignatureSize) {
		return false
	}
	sig, err := hex.DecodeString(signature)
	if err != nil {
		return false
	}
	signed := append(append(make([]byte, 0, len(timestamp)+len(body)), timestamp...), body...)
	for _, key := range k {
		if ed25519.Verify(key, signed, sig) {
			return true
		}
	}
	return false
}
