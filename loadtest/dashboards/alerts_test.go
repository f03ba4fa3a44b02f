package dashboards

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named finds the labels that the text of an alert names.
var named = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// Each alert says how bad it is, what it is, and where the runbook has a section on it; and that section is there.
func TestAlertsHaveARunbook(t *testing.T) {
	sections := map[string]bool{} // anchor: an alert links to it
	text, err := os.ReadFile(runbook)
	if err != nil {
		t.Fatal(err)
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (Arrakis\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections[strings.ToLower(heading[1])] = false
	}
	for _, r := range rulesOf(t, "alerts.yml") {
		if !strings.HasPrefix(r.Alert, "Arrakis") {
			t.Errorf("%s%s: want an alert whose name begins with Arrakis", r.Alert, r.Record)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q, want critical or warning", r.Alert, s)
		}
		for _, name := range []string{"summary", "description"} {
			if !strings.HasSuffix(r.Annotations[name], ".") {
				t.Errorf("%s: its %s is no sentence: %q", r.Alert, name, r.Annotations[name])
			}
		}
		anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], "docs/alerts.md#")
		if _, exists := sections[anchor]; !ok || !exists {
			t.Errorf("%s: the runbook has no section %q", r.Alert, r.Annotations["runbook_url"])
		} else {
			sections[anchor] = true
		}
		if !strings.Contains(string(text), r.Alert) {
			t.Errorf("%s: the runbook does not name it", r.Alert)
		}
	}
	for anchor, linked := range sections {
		if !linked {
			t.Errorf("the runbook has a section %s, and no alert links to it", anchor)
		}
	}
	// Each section says the same four things.
	for _, section := range strings.Split(string(text), "\n### ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		for _, part := range []string{"- **Means:**", "- **Users feel:**", "- **Look:**", "- **Do:**"} {
			if strings.Count(body, part) != 1 {
				t.Errorf("%s: want one %q", name, part)
			}
		}
	}
}

// Each alert has a case in which it fires, and one in which it does not; promtool runs them (.ci/run).
func TestAlertsHaveCases(t *testing.T) {
	var file struct {
		RuleFiles          []string `yaml:"rule_files"`
		EvaluationInterval string   `yaml:"evaluation_interval"`
		GroupOrder         []string `yaml:"group_eval_order"`
		Tests              []struct {
			Interval    string
			InputSeries []struct{ Series, Values string } `yaml:"input_series"`
			Alerts      []struct {
				EvalTime string `yaml:"eval_time"`
				Alert    string `yaml:"alertname"`
				Expected []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
			Expressions []any `yaml:"promql_expr_test"`
		}
	}
	decodeYAML(t, filepath.Join(deploy, "prometheus", "alerts_test.yml"), &file)
	fires, quiet := map[string]int{}, map[string]int{}
	for _, group := range file.Tests {
		for _, c := range group.Alerts {
			if len(c.Expected) > 0 {
				fires[c.Alert]++
			} else {
				quiet[c.Alert]++
			}
		}
	}
	for _, r := range rulesOf(t, "alerts.yml") {
		if fires[r.Alert] == 0 || quiet[r.Alert] == 0 {
			t.Errorf("%s fires in %d cases and stays quiet in %d, want at least one each", r.Alert, fires[r.Alert], quiet[r.Alert])
		}
	}
}
