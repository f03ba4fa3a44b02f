package auth

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNamedTokens(t *testing.T) {
	got, err := ParseNamedTokens([]string{"ada=all:s3cret", "support=limits+view:a:b=c+d", "on.call-2_x=deadletters:"})
	want := []NamedToken{
		{Grant{"ada", []Scope{All}}, "s3cret"}, {Grant{"support", []Scope{Limits, View}}, "a:b=c+d"}, {Grant{"on.call-2_x", []Scope{DeadLetters}}, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

// No error has a text of an entry, whatever stands in the place of whatever else: it may be a token.
func TestParseNamedTokensFaults(t *testing.T) {
	const secret = "s3cret"
	for _, entry := range []string{
		secret, "ada=all", "ada=" + secret, "ada:" + secret, secret + ":ada", "=all:" + secret, "Ada=all:" + secret, secret + "!=all:x", "ada=" + secret + ":x",
		"ada=all+" + secret + ":x", "ada=:" + secret, "ada=all+:" + secret, "ada= all:" + secret, strings.Repeat(secret, 10) + "=all:x", "",
		"admin=view:" + secret, "view=all:" + secret, "local=limits:" + secret,
	} {
		_, err := ParseNamedTokens([]string{"bob=all:x", entry})
		if err == nil || !strings.Contains(err.Error(), "entry 2 ") || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", entry, err)
		}
	}
}
