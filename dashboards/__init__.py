"""Grafana dashboards: built from src/, committed as JSON, loaded by provisioning/."""
