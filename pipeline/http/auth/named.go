package auth

import (
	"fmt"
	"strings"
)

// NamedToken is a token of somebody, with what it gives.
type NamedToken struct {
	Grant
	Token string
}

// ParseNamedTokens reads tokens as ADMIN_TOKENS has them: name=scope+scope:token. The token is all that is behind the
// first colon. The error has no text of the entry, which may be a token; it numbers entries from 1 on.
func ParseNamedTokens(entries []string) ([]NamedToken, error) {
	tokens := make([]NamedToken, len(entries))
	for i, entry := range entries {
		given, token, colon := strings.Cut(entry, ":")
		name, scopes, equals := strings.Cut(given, "=")
		if !colon || !equals {
			return nil, fmt.Errorf("entry %d must be name=scopes:token, such as ada=all:… or support=limits+view:…", i+1)
		}
		t := NamedToken{Grant: Grant{Name: name}, Token: token}
		for scope := range strings.SplitSeq(scopes, "+") {
			t.Scopes = append(t.Scopes, Scope(scope))
		}
		if err := t.validate(); err != nil {
			return nil, fmt.Errorf("entry %d %w", i+1, err)
		}
		tokens[i] = t
	}
	return tokens, nil
}
