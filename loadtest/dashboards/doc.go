// Package dashboards tests what is in deploy/: the rules and alerts for Prometheus, and the dashboard for Grafana. It holds
// them to docs/alerts.md, to each other, and to the metrics of a running worker, as a real Prometheus sees them. It is a
// module of its own, because arrakis itself needs neither a parser of PromQL nor Grafana's schema.
package dashboards
