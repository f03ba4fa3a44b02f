package view_test

import (
	"testing"

	"github.com/go-json-experiment/json"

	"arrakis/pipeline/view"
	"arrakis/tenant"
)

// What is shown of a document can be given back: the members of other writers, which a strict reader refuses, are left
// out at every depth.
func TestViewsCanBeGivenBack(t *testing.T) {
	const others = `"zz":1`
	flag, err := tenant.ParseStored[tenant.Flag]([]byte(`{"id":"f","enabled":true,"communities":{"include":["a"],` + others + `},` + others + `}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.ParseFlag(document(t, view.Flag(flag))); err != nil {
		t.Errorf("flag: %v", err)
	}
	config, err := tenant.ParseStored[tenant.Config]([]byte(`{"tier":"pro","features":{` + others + `},"rateLimits":{` + others + `},` +
		`"boosts":{"commandsPerMinute":{"add":1,"until":"2026-01-31T12:00:00Z",` + others + `},` + others + `},` + others + `}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.ParseConfig(document(t, view.Tenant(config))); err != nil {
		t.Errorf("tenant: %v", err)
	}
	tiers, err := tenant.ParseStored[tenant.Tiers]([]byte(`{"free":{"features":{` + others + `},"rateLimits":{` + others + `},` + others + `},` + others + `}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.ParseTiers(document(t, view.Tiers(tiers))); err != nil {
		t.Errorf("tiers: %v", err)
	}
}

func document(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
