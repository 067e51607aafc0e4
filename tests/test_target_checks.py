"""What a configuration may not say of whom it sends to."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor import config
from monitor.document import Mistaken

RULES = Path(__file__).parents[1] / "rules" / "monitor" / "core.yml"


def mistakes(directory: Path, **sections: Any) -> list[str]:
    """Return what is wrong with a configuration, as path: text."""
    text = {
        "webhook": {"app_secrets": ["0123456789abcdef"], "verify_tokens": ["t"]}, "rules": {"files": [str(RULES)]},
        **sections,
    }  # fmt: skip
    path = directory / "monitor.yml"
    path.write_text(yaml.safe_dump(text))
    with pytest.raises(Mistaken) as caught:
        config.load(path)
    return [f"{one.path}: {one.message}" for one in caught.value.mistakes]


@pytest.mark.parametrize(
    ("alerts", "told"),
    [
        ({"webhooks": [{"url": "http://169.254.169.254/x"}]}, "alerts.webhooks[0].url: lies in 169.254.0.0/16"),
        ({"webhooks": [{"url": "http://[::ffff:a9fe:a9fe]/"}]}, "alerts.webhooks[0].url: lies in 169.254.0.0/16"),
        ({"slack": [{"api_url": "http://169.254.169.254/x"}]}, "alerts.slack[0].api_url: lies in 169.254.0.0/16"),
        ({"slack": [{"api_url": "ftp://a/x"}]}, "alerts.slack[0].api_url: must be an http"),
        ({"slack": [{}]}, "one of api_url and api_url_file is required"),
        ({"slack": [{"api_url_file": "absent"}]}, "alerts.slack[0].api_url_file: "),
        ({"pagerduty": [{}]}, "one of routing_key and routing_key_file is required"),
        ({"pagerduty": [{"routing_key": "a", "routing_key_file": "b"}]}, "at most one of routing_key and routing_key"),
        ({"webhooks": [{"url": "http://a", "secret": "short"}]}, "alerts.webhooks[0].secret: must be whsec_"),
        ({"webhooks": [{"url": "http://a", "http_headers": {"Authorization": {}}}]}, "http_headers can't set Author"),
        ({"webhooks": [{"url": "http://a", "follow_redirects": True}]}, "follow_redirects"),
        ({"webhooks": [{"url": "http://a", "no_proxy": "b", "proxy_from_environment": True}]}, "can't stand beside"),
        ({"webhooks": [{"url": "http://a", "basic_auth": {"password": "p"}}]}, "username or username_file is required"),
        ({"apprise": [{"url": "whatsapp://token@100/15551234567"}]}, "can't travel by WhatsApp"),
        ({"apprise": [{"url": "nosuch://x"}]}, "apprise knows no service nosuch://"),
        ({"apprise": [{"url": "nothing"}]}, "must be a URL as apprise writes them"),
        (
            {"slack": [{"name": "a", "api_url": "http://a"}], "webhooks": [{"name": "a", "url": "http://a"}]},
            "another destination has the name a too",
        ),
    ],
)  # fmt: skip
def test_a_destination_that_can_not_be_is_a_mistake_with_its_place(
    tmp_path: Path, alerts: dict[str, Any], told: str
) -> None:
    found = mistakes(tmp_path, alerts=alerts)

    assert any(told in one for one in found), found


def test_a_secret_that_is_wrong_is_not_repeated(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path, alerts={"apprise": [{"url": "nosuch://hunter2@x"}], "slack": [{"api_url": "ftp://hunter2"}]}
    )

    assert "hunter2" not in str(found)


def test_a_network_that_is_none_is_a_mistake(tmp_path: Path) -> None:
    assert "outbound.deny_networks" in mistakes(tmp_path, outbound={"deny_networks": ["10.0.0.1/8"]})[0]


def test_what_is_allowed_explicitly_may_be_sent_to(tmp_path: Path) -> None:
    text = {
        "webhook": {"app_secrets": ["0123456789abcdef"], "verify_tokens": ["t"]}, "rules": {"files": [str(RULES)]},
        "alerts": {"webhooks": [{"url": "http://169.254.1.1/x"}]}, "outbound": {"deny_networks": []},
    }  # fmt: skip
    (tmp_path / "monitor.yml").write_text(yaml.safe_dump(text))

    assert config.load(tmp_path / "monitor.yml").config.outbound.deny_networks == ()
