//! Generates the Grafana dashboards and Prometheus rules from the contract.
