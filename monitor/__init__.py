"""A monitoring and alerting sidecar for Meta's WhatsApp Business Platform."""

__version__ = "0.1.0"
