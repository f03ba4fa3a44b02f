package tenant_test

import (
	"slices"
	"testing"

	"arrakis/tenant"
)

func TestResetTarget(t *testing.T) {
	t.Parallel()
	all := []tenant.Action{tenant.Command, tenant.EligibilityCheck, tenant.SyncRequest, tenant.UserCommand}
	tests := []struct {
		target, community string
		actions           []tenant.Action
	}{
		{"a", "a", all},
		{"a:b", "a:b", all},
		{"a:command", "a", []tenant.Action{tenant.Command}},
		{"a:command:sync_request", "a:command", []tenant.Action{tenant.SyncRequest}},
		{":command", ":command", all},
		{"command", "command", all},
		{"@acme", "@acme", all},
		{"@a:b:command", "@a:b", []tenant.Action{tenant.Command}},
	}
	for _, tt := range tests {
		community, actions, ok := tenant.Event{Type: tenant.LimitReset, TargetID: tt.target}.Reset()
		if !ok || community != tt.community || !slices.Equal(actions, tt.actions) {
			t.Errorf("%s: %q, %v, %v", tt.target, community, actions, ok)
		}
	}
	if _, _, ok := (tenant.Event{Type: tenant.TenantChanged, TargetID: "a"}).Reset(); ok {
		t.Error("a tenant_config event is taken for a reset")
	}
}
