package tenant_test

import (
	"fmt"

	"arrakis/tenant"
)

func ExampleParseConfig() {
	_, err := tenant.ParseConfig([]byte(`{"tier":"gold","rateLimits":{"commandsPerMinit":5}}`))
	fmt.Println(err)
	// Output:
	// rateLimits.commandsPerMinit: is unknown; known are commandsPerMinute, eligibilityChecksPerHour, syncRequestsPerDay, userCommandsPerMinute
	// tier: is unknown: "gold"; use free, pro or enterprise
}

func ExampleFlag_On() {
	share := 25.0
	flag := tenant.Flag{
		ID:             "new-stats",
		Enabled:        true,
		Tiers:          []tenant.Tier{tenant.Pro, tenant.Enterprise},
		Communities:    tenant.FlagCommunities{Include: []string{"comm_beta"}},
		RolloutPercent: &share,
	}
	for _, t := range []*tenant.Tenant{
		{ID: "comm_beta", Tier: tenant.Free},
		{ID: "comm_1", Tier: tenant.Free},
	} {
		fmt.Println(t.ID, flag.On(t))
	}
	// Output:
	// comm_beta true
	// comm_1 false
}

func ExampleEvent_Reset() {
	ev := tenant.Event{Type: tenant.LimitReset, TargetID: "guild:7:sync_request"}
	community, actions, _ := ev.Reset()
	fmt.Println(community, len(actions), actions[0])
	// Output:
	// guild:7 1 sync_request
}
