package main

import (
	"context"
	"fmt"

	"arrakis/tenant"
	"arrakis/tenant/store"
)

// demoCommunities is how many communities `arrakis dev` has.
const demoCommunities = 100

// demoCommunity returns the ID and the tier of demo community i. The first 10 are enterprise, the next 20 pro, the last
// 70 free.
func demoCommunity(i int) (id string, tier tenant.Tier) {
	switch {
	case i < 10:
		tier = tenant.Enterprise
	case i < 30:
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
