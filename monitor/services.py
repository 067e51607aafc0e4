"""Services by their apprise URL (apprise is an extra)."""

from typing import Any

_REFUSED = {
    "whatsapp": "an alert about WhatsApp can't travel by WhatsApp: it would be sent through what may be paused",
}


def made(url: str) -> Any:
    """Return apprise's own object for a URL; ValueError, which does not repeat the credentials in it, for others."""
    schema, separator, _ = url.strip().partition("://")
    schema = schema.lower()
    if not separator:
        raise ValueError("must be a URL as apprise writes them, such as mailto://…")
    if schema in _REFUSED:
        raise ValueError(_REFUSED[schema])
    try:
        import apprise  # noqa: PLC0415 (an extra)
    except ImportError:
        raise ValueError("needs the extra: pip install 'whatsapp-monitor[apprise]'") from None
    service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        raise ValueError(f"apprise knows no service {schema}:// of this form")
    return service
