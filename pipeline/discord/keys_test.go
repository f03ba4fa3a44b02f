package discord

import (
	"crypto/ed25519"
	"encoding/hex"
	"strings"
	"testing"
)

// newKey returns a key of its own for each seed, and its public half as the developer portal shows it.
func newKey(seed byte) (ed25519.PrivateKey, string) {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	return key, hex.EncodeToString(key[ed25519.SeedSize:])
}

// sign signs a request as Discord does.
func sign(key ed25519.PrivateKey, timestamp, body string) string {
	return hex.EncodeToString(ed25519.Sign(key, []byte(timestamp+body)))
}

func TestVerify(t *testing.T) {
	old, oldText := newKey(1)
	young, youngText := newKey(2)
	stranger, _ := newKey(3)
	const timestamp, body = "1700000000", `{"type":1}`
	for _, tt := range []struct {
		name                       string
		timestamp, body, signature string
		want                       bool
	}{
		{"the first key", timestamp, body, sign(old, timestamp, body), true},
		{"the second key", timestamp, body, sign(young, timestamp, body), true},
		{"upper case", timestamp, body, strings.ToUpper(sign(old, timestamp, body)), true},
		{"an empty body", timestamp, "", sign(old, timestamp, ""), true},
		{"another's key", timestamp, body, sign(stranger, timestamp, body), false},
		{"another timestamp", "1700000001", body, sign(old, timestamp, body), false},
		{"another body", timestamp, body + " ", sign(old, timestamp, body), false},
		{"a digit moved from the timestamp to the body", "170000000", "0" + body, sign(old, timestamp, body), true},
		{"no timestamp", "", timestamp + body, sign(old, timestamp, body), false},
		{"a timestamp that is too long", strings.Repeat("1", 33), body, sign(old, strings.Repeat("1", 33), body), false},
		{"no signature", timestamp, body, "", false},
		{"a short signature", timestamp, body, sign(old, timestamp, body)[:126], false},
		{"a long signature", timestamp, body, sign(old, timestamp, body) + "00", false},
		{"no hexadecimal", timestamp, body, strings.Repeat("zz", 64), false},
		{"zeros", timestamp, body, strings.Repeat("00", 64), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := ParseKeys(oldText, youngText)
			if err != nil {
				t.Fatal(err)
			}
			if got := keys.Verify(tt.timestamp, []byte(tt.body), tt.signature); got != tt.want {
				t.Errorf("Verify = %t, want %t", got, tt.want)
			}
			if (Keys{}).Verify(tt.timestamp, []byte(tt.body), tt.signature) {
				t.Error("no key verifies")
			}
		})
	}
}

func TestParseKeysRefuses(t *testing.T) {
	_, key := newKey(1)
	for _, tt := range []struct {
		name  string
		texts []string
		want  string
	}{
		{"none", nil, "1 to 8 public keys"},
		{"nine", strings.Split(strings.Repeat(key+",", 8)+key, ","), "1 to 8 public keys"},
		{"an empty one", []string{""}, "public key 1"},
		{"a short one", []string{key, key[:62]}, "public key 2"},
		{"no hexadecimal", []string{strings.Repeat("z", 64)}, "64 hexadecimal digits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseKeys(tt.texts...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseKeys returned %v, want an error with %q", err, tt.want)
			}
		})
	}
}
