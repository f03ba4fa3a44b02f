package dashboards

import "testing"

// Every query is PromQL.
func TestQueriesParse(t *testing.T) {
	all := append(ruleQueries(t), dashboardQueries(t)...)
	for _, q := range all {
		q.parse(t)
	}
	if len(all) < 100 {
		t.Errorf("%d queries found, want at least 100: has the form of the files changed?", len(all))
	}
}
