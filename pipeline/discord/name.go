package discord

import (
	"strings"

	"arrakis/pipeline/contract"
)

// commandName is the name of the handler for the command of the given name and ID: the name in lower case with hyphens
// for spaces, "View Stats" is view-stats. A name that no handler can have, such as one that is not Latin, becomes the ID
// after "c-".
func commandName(name, id string) string {
	if s := handlerName(name); contract.ValidCommand(s) {
		return s
	}
	return "c-" + id
}

// customName is the name of the handler for a component or a modal: its custom ID up to the first colon, by the rule of
// commandName. What follows the colon is the handler's own. A custom ID that makes no name is unknown.
func customName(customID string) string {
	name, _, _ := strings.Cut(customID, ":")
	if s := handlerName(name); contract.ValidCommand(s) {
		return s
	}
	return contract.UnknownCommand
}

// maxName is how many bytes of a name are looked at: none that is longer is valid.
const maxName = 128

func handlerName(s string) string {
	if len(s) > maxName {
		return ""
	}
	return strings.ReplaceAll(strings.ToLower(s), " ", "-")
}

// maxToken is how many bytes a token may have. Those of Discord have some 200.
const maxToken = 512

// ValidToken reports whether s can be the token of an interaction: 1 to 512 visible ASCII characters, without quotes and
// backslashes, which would hide its end from [Redact]; and not what Redact puts in its place.
func ValidToken(s string) bool {
	if s == "" || len(s) > maxToken || s == redacted {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\'' || c == '\\' {
			return false
		}
	}
	return true
}

// localeOf returns s if it has the form of a locale, such as de or pt-BR, else "".
func localeOf(s string) string {
	if len(s) > 16 {
		return ""
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		default:
			return ""
		}
	}
	return s
}
