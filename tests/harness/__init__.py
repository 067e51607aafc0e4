"""Real processes and local stand-ins for the slow tests: the sidecar, Meta, the application, a trace collector."""
