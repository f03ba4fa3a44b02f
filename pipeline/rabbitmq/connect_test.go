package rabbitmq

import (
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"amqp://bot:hunter2@rabbit":                    "rabbit:5672",
		"amqps://bot:hunter2@rabbit/vhost?heartbeat=5": "rabbit:5671",
		"amqp://[::1]:7":                               "[::1]:7",
		"amqp://bot:hun/ter2@rabbit":                   "",
		"amqp://bot:hunter2@rabbit?heartbeat=hunter2":  "",
		"http://bot:hunter2@rabbit":                    "",
		"amqp://bot:hunter2rabbit:5672":                "",
		"bot:hunter2@rabbit":                           "",
		"amqp://bot:hunter2 @rabbit":                   "",
	} {
		got, err := Server{URL: url}.Address()
		if got != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), "hun") {
			t.Errorf("%s: %q, %v, want %q", url, got, err, want)
		}
	}
}

// Whatever the URL is, its password is in no error and in no address.
func FuzzAddress(f *testing.F) {
	const secret = "hunter2hunter2"
	f.Add("amqp", "bot", "@rabbit:5672/vhost")
	f.Add("amqps", "b@t", "/x@rabbit?heartbeat=x")
	f.Add("amqp", "", "#@[::1]")
	f.Fuzz(func(t *testing.T, scheme, user, rest string) {
		if strings.Contains(scheme+user+" "+rest, secret) {
			return // where it stands it is not a secret
		}
		got, err := Server{URL: scheme + "://" + user + ":" + secret + rest}.Address()
		if err != nil {
			got = err.Error()
		}
		if strings.Contains(got, secret) {
			t.Fatal(got)
		}
	})
}
