package main

import (
	"context"
	"fmt"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// demoCommunities is how many communities `arrakis dev` has: the first are enterprise, the next pro, and all others free.
const (
	demoCommunities = 100
	demoEnterprise  = 10
	demoPro         = 20
)

// demoCommunity returns the ID and the tier of demo community i, 0 to 99.
func demoCommunity(i int) (id string, tier tenant.Tier) {
	switch {
	case i < demoEnterprise:
		tier = tenant.Enterprise
	case i < demoEnterprise+demoPro:
		tier = tenant.Pro
	default:
		tier = tenant.Free
	}
	return fmt.Sprintf("comm_%03d", i), tier
}

// storeDemo stores the demo communities.
func storeDemo(ctx context.Context, tenants *store.Store) error {
	for i := range demoCommunities {
		id, tier := demoCommunity(i)
		if _, _, err := tenants.Put(ctx, id, tenant.Config{Tier: tier}, store.PutOptions{}); err != nil {
			return err
		}
	}
	return nil
}
