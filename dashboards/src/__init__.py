"""The source of the dashboards: `python -m dashboards.src` writes their JSON anew."""
