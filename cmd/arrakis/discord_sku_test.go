package main

import (
	"strings"
	"testing"

	"arrakis/loadtest/testserver"
)

// The SKUs are a part of the tiers document: setting one changes nothing else, and `tiers set` keeps them.
func TestDiscordSKU(t *testing.T) {
	t.Parallel()
	m := testserver.Redis(t)
	env := environment{"REDIS_URL": "redis://" + m.Addr()}
	for _, tt := range []struct {
		command string
		code    int
		want    string // in the output
	}{
		{"discord sku list", exitDone, "no SKU gives a tier"},
		{"discord sku list --json", exitDone, `"skus": {}`},
		{`tiers set {"pro":{"weight":3}}`, exitDone, ""},
		{"discord sku set 1019475255913222144 pro", exitDone, "1019475255913222144  pro\n"},
		{"discord sku set 7 enterprise --json", exitDone, `"7": "enterprise"`},
		{"discord sku list", exitDone, "SKU                  TIER\n1019475255913222144  pro\n7                    enterprise\n"},
		{"tiers get --json", exitDone, `"weight": 3`},
		{`tiers set {"pro":{"weight":5}}`, exitDone, ""},
		{"tiers get", exitDone, "SKU 7"},
		{"discord sku delete 7", exitDone, "deleted 7"},
		{"discord sku delete 7", exitFailed, "SKU 7: not found"},
		{"discord sku list --json", exitDone, "{\n  \"skus\": {\n    \"1019475255913222144\": \"pro\"\n  }\n}\n"},
		{"audit", exitDone, "skus.7: enterprise → not set"},
		{"discord sku set x pro", exitUsage, "must be 1 to 20 digits"},
		{"discord sku delete 123456789012345678901", exitUsage, "must be 1 to 20 digits"},
		{"discord sku set 7 gold", exitUsage, `is unknown: "gold"`},
		{`tiers set {"skus":{"x":"pro","7":"gold","8":1,"9":null}}`, exitUsage, "skus.7: is unknown"},
		{`tiers set {"skus":{}}`, exitDone, ""},
		{"discord sku list", exitDone, "no SKU gives a tier"},
	} {
		r := arrakis(t, env, strings.Fields(tt.command)...)
		if got := r.stdout + r.stderr; r.code != tt.code || !strings.Contains(got, tt.want) {
			t.Errorf("%s: exit code %d, want %d; %q is not in\n%s", tt.command, r.code, tt.code, tt.want, got)
		}
	}
}
