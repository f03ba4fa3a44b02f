package discord

import (
	"errors"
	"net/url"
)

// DefaultAPIURL is where Discord's REST API is.
const DefaultAPIURL = "https://discord.com/api/v10"

// CheckAPIURL reports why text cannot be the base URL of Discord's REST API, or of a proxy before it. The error does not
// repeat it, because there may be a password in it.
func CheckAPIURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("expected an http or https URL without user and parameters, such as " + DefaultAPIURL)
	}
	return nil
}

// ValidID reports whether s is an ID as Discord makes them (a snowflake): 1 to 20 digits.
func ValidID(s string) bool {
	if len(s) < 1 || len(s) > 20 {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
