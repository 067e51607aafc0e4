"""The internal listener: gate, API, metrics and the status page."""
