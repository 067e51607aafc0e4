"""What a configuration may not say of whom it sends to."""

import os
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
    (directory / "here").write_text("hunter2")
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
        ({"webhooks": [{"url": "http://a:99999/x"}]}, "alerts.webhooks[0].url: must be an http:// or https:// URL"),
        ({"webhooks": [{"url": "http://u:hunter2"}]}, "alerts.webhooks[0].url: must be an http:// or https:// URL"),
        ({"webhooks": [{"url": "http://a b/x"}]}, "alerts.webhooks[0].url: must be an http:// or https:// URL"),
        ({"webhooks": [{"url": "http://[::1/x"}]}, "alerts.webhooks[0].url: must be an http:// or https:// URL"),
        ({"webhooks": [{"url": "http://a", "secret_file": "here"}]}, "alerts.webhooks[0].secret_file: must be whsec_"),
        ({"slack": [{"api_url_file": "here"}]}, "alerts.slack[0].api_url_file: must be an http"),
        ({"apprise": [{"url_file": "here"}]}, "alerts.apprise[0].url_file: must be a URL as apprise writes them"),
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


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tls_config": {"cert_file": "here"}}, "forward[0].tls_config: DIRECTORY/here can't be used with a key in"),
        ({"tls_config": {"ca_file": "here"}}, "forward[0].tls_config: DIRECTORY/here holds no certificate in PEM"),
        ({"tls_config": {"ca_file": "pipe"}}, "forward[0].tls_config: DIRECTORY/pipe is no file"),
        ({"tls_config": {"ca_file": "gone"}}, "forward[0].tls_config: DIRECTORY/gone can't be read: No such file"),
        ({"tls_config": {"key_file": "here"}}, "forward[0].tls_config: key_file needs cert_file"),
        ({"tls_config": {"min_version": "TLS13", "max_version": "TLS12"}}, "forward[0].tls_config: min_version must"),
        ({"http_headers": {"X-A": {"values": ["a\nb"]}}}, "forward[0].http_headers.X-A.values[0]: must hold no line"),
        ({"http_headers": {"X-A": {"secrets": ["a\rb"]}}}, "forward[0].http_headers.X-A.secrets[0]: must hold no line"),
        ({"http_headers": {"X-A": {"files": ["lines"]}}}, "http_headers.X-A.files[0]: DIRECTORY/lines holds a line"),
        ({"authorization": {"type": "a\nb"}}, "forward[0].authorization.type: must hold no line break"),
        ({"authorization": {"credentials_file": "pipe"}}, "authorization.credentials_file: DIRECTORY/pipe is no file"),
        ({"authorization": {"credentials_file": "long"}}, "DIRECTORY/long is longer than 65536 bytes"),
        ({"authorization": {"credentials_file": "bytes"}}, "credentials_file: DIRECTORY/bytes is not UTF-8"),
        ({"basic_auth": {"username": "a", "password_file": "."}}, "basic_auth.password_file: DIRECTORY is no file"),
        (
            {"proxy_url": "http://p", "proxy_connect_header": {"X-A": ["a\nb"]}},
            "forward[0].proxy_connect_header.X-A[0]: must hold no line break",
        ),
    ],
)  # fmt: skip
def test_what_would_be_made_of_a_target_s_options_is_tried(tmp_path: Path, more: dict[str, Any], told: str) -> None:
    (tmp_path / "lines").write_text("hunter2\nhunter2")
    (tmp_path / "long").write_text("a" * 65_537)
    (tmp_path / "bytes").write_bytes(b"hunter2\xff")
    os.mkfifo(tmp_path / "pipe")

    (found,) = mistakes(tmp_path, forward=[{"name": "app", "url": "https://a", **more}])

    assert told in found.replace(str(tmp_path), "DIRECTORY")
    assert "hunter2" not in found


def test_a_collector_in_a_denied_network_is_a_mistake(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, tracing={"endpoint": "http://169.254.169.254:4318"})

    assert found.startswith("tracing.endpoint: lies in 169.254.0.0/16")


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
