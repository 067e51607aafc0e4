"""Pictures of the dashboards, drawn from their JSON and from what a Prometheus answers."""
