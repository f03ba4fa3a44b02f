package idempotency

import "testing"

// TestKeys: no community's name and no event ID makes two keys equal.
func TestKeys(t *testing.T) {
	t.Parallel()
	seen := map[string]Key{}
	hostile := Key{"a", "command", "x"}
	for _, k := range []Key{
		hostile,
		{"a", "event", "x"},
		{"a", "command", "X"},
		{"a:command:" + digest([]byte("x")), "command", "x"},
		{"-keys:a", "command", "x"},
		{"keys:a:" + hostile.member(), "command", "x"},
	} {
		for _, redisKey := range []string{recordKey(k.Community, k.member()), k.index()} {
			if other, ok := seen[redisKey]; ok && (redisKey != k.index() || redisKey != other.index()) {
				t.Errorf("%v and %v are both %s", k, other, redisKey)
			}
			seen[redisKey] = k
		}
	}
}
