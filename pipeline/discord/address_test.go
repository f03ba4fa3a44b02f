package discord

import (
	"strings"
	"testing"
)

func TestCheckAPIURL(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		DefaultAPIURL:                       true,
		"http://proxy:8080":                 true,
		"http://[::1]:8080/api/v10/":        true,
		"":                                  false,
		"discord.com/api/v10":               false,
		"ftp://discord.com":                 false,
		"https:///api":                      false,
		"https://:443/api":                  false,
		"https://user:hunter2@proxy/api":    false,
		"https://proxy/api?token=hunter2":   false,
		"https://proxy/api#hunter2":         false,
		"https://proxy/\x00hunter2":         false,
		"wss://gateway.discord.gg/?hunter2": false,
	} {
		err := CheckAPIURL(text)
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
}

func TestValidID(t *testing.T) {
	t.Parallel()
	for id, good := range map[string]bool{
		"0": true, "80351110224678912": true, "18446744073709551615": true,
		"": false, "184467440737095516150": false, "-1": false, "1a": false, "１": false, " 1": false,
	} {
		if ValidID(id) != good {
			t.Errorf("%q: valid is %t", id, !good)
		}
	}
}
