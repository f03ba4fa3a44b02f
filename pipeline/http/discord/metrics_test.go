package discord

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// What alerts watch is there from the start.
func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	newMetrics(reg).answered("command", endInline)
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP arrakis_discord_interactions_total Requests of Discord by type of interaction, or event, and by how they were answered.
# TYPE arrakis_discord_interactions_total counter
arrakis_discord_interactions_total{answer="deferred",type="command"} 0
arrakis_discord_interactions_total{answer="deferred",type="component"} 0
arrakis_discord_interactions_total{answer="deferred",type="modal"} 0
arrakis_discord_interactions_total{answer="gone",type="command"} 0
arrakis_discord_interactions_total{answer="gone",type="component"} 0
arrakis_discord_interactions_total{answer="gone",type="modal"} 0
arrakis_discord_interactions_total{answer="inline",type="command"} 1
arrakis_discord_interactions_total{answer="inline",type="component"} 0
arrakis_discord_interactions_total{answer="inline",type="modal"} 0
arrakis_discord_interactions_total{answer="refused",type="command"} 0
arrakis_discord_interactions_total{answer="refused",type="component"} 0
arrakis_discord_interactions_total{answer="refused",type="modal"} 0
arrakis_discord_interactions_total{answer="repeated",type="command"} 0
arrakis_discord_interactions_total{answer="repeated",type="component"} 0
arrakis_discord_interactions_total{answer="repeated",type="modal"} 0
arrakis_discord_interactions_total{answer="stale",type="event"} 0
arrakis_discord_interactions_total{answer="stale",type="unknown"} 0
arrakis_discord_interactions_total{answer="unauthorized",type="event"} 0
arrakis_discord_interactions_total{answer="unauthorized",type="unknown"} 0
`)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
