"""What queries are made of: selectors of the chosen sidecars, rates, and fallbacks that say nothing untrue."""

OWN = 'job=~"$job", instance=~"$instance"'
ACCOUNT = 'waba_id=~"$waba_id"'
NUMBER = 'phone_number_id=~"$phone_number_id"'
REAL = 'waba_id!="whatsapp-monitor-drill"'  # a drill is played of an account that nobody has
SENDER = f"{ACCOUNT}, {REAL}, {NUMBER}"
SENDERS = 'scope=~"all|waba|phone_number", scope_id=~"$waba_id|$phone_number_id|", scope_id!="whatsapp-monitor-drill"'
"""What covers a chosen sender as a whole: the empty id is that of everything, and a drill's account is nobody's."""


def series(metric: str, *matchers: str) -> str:
    """Return the selector of a metric of the chosen sidecars."""
    return f"{metric}{{{', '.join([OWN, *matchers])}}}"


def per_second(metric: str, *matchers: str, by: str = "") -> str:
    """Return how fast a counter grows, added up by these labels."""
    return f"sum{_by(by)}(rate({series(metric, *matchers)}[$__rate_interval]))"


def grown(metric: str, *matchers: str, by: str = "") -> str:
    """Return by how much a counter grew in each step, added up by these labels."""
    return f"sum{_by(by)}(increase({series(metric, *matchers)}[$__rate_interval]))"


def in_range(metric: str, *matchers: str, by: str = "") -> str:
    """Return by how much a counter grew in the whole time range."""
    return f"sum{_by(by)}(increase({series(metric, *matchers)}[$__range]))"


def quantile(share: float, histogram: str, *matchers: str, by: str = "") -> str:
    """Return a quantile of a histogram, for each value of these labels."""
    labels = f"{by}, le" if by else "le"
    buckets = series(f"{histogram}_bucket", *matchers)
    return f"histogram_quantile({share}, sum by ({labels}) (rate({buckets}[$__rate_interval])))"


def highest(expression: str, most: int = 8) -> str:
    """Return the highest series: more than a few lines cannot be read."""
    return f"topk({most}, {expression})"


def lowest(expression: str, most: int = 8) -> str:
    """Return the lowest series."""
    return f"bottomk({most}, {expression})"


def or_zero(expression: str, label: str = "") -> str:
    """Return 0 where there are no series but a sidecar is there: without one nothing is known, and nothing is shown.

    Where the series have a label, that of the 0 says `none`.
    """
    zero = f"0 * max({series('whatsapp_monitor_build_info')})"
    if label:
        zero = f'label_replace({zero}, "{label}", "none", "", "")'
    return f"{expression} or on () {zero}"


def sending() -> str:
    """Return whether sending is allowed: 0 yes, 1 throttled, 2 probing after a pause, 3 paused; nothing if unknown."""
    paused, probing = series("whatsapp_gate_paused", SENDERS), series("whatsapp_gate_probing", SENDERS)
    throttled = series("whatsapp_gate_throttled_per_second", SENDERS)
    return or_zero(f"3 * max({paused}) or 2 * max({probing}) or 1 + 0 * max({throttled})")


def failed_share(by: str = "") -> str:
    """Return which share failed of the messages that came to an end: most that fail never were `sent`."""
    failed = per_second("whatsapp_statuses_total", SENDER, 'status="failed"', by=by)
    ended = per_second("whatsapp_statuses_total", SENDER, 'status=~"sent|failed"', by=by)
    return f"{failed} / ({ended} > 0)"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
