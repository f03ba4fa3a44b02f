package record_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"arrakis/loadtest/testserver"
	"arrakis/tenant/record"
)

// TestExposition: the metrics are there before anything has happened, so that rules find them.
func TestExposition(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	d, err := record.Open(t.Context(), record.Options{URL: "postgres://127.0.0.1:1/none", Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		fmt.Fprintf(&got, "%s %s: %s\n", f.GetName(), strings.ToLower(f.GetType().String()), f.GetHelp())
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				fmt.Fprintf(&got, "  %s=%q\n", l.GetName(), l.GetValue())
			}
		}
	}
	testserver.Golden(t, "metrics.txt", got.String())
}
