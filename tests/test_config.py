"""The configuration file: right ones to a record, wrong ones to every mistake with its place."""

from pathlib import Path

import pytest

from monitor import config
from monitor.config import Loaded
from monitor.document import Mistaken

SECRETS = "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [token]}"
RULES = "rules: [{name: one, match: {code: 1}, actions: [flag]}]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules" / "monitor").mkdir(parents=True)
    (tmp_path / "rules" / "monitor" / "core.yml").write_text(RULES)
    (tmp_path / "rules" / "monitor" / "core_test.yml").write_text("not: rules")
    return tmp_path


def load(folder: Path, text: str, **environment: str) -> Loaded:
    (folder / "monitor.yml").write_text(text)
    return config.load(folder / "monitor.yml", environment)


def mistakes(folder: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(Mistaken) as caught:
        load(folder, text, **environment)
    return [str(mistake).replace(f"{folder}/", "") for mistake in caught.value.mistakes]


def test_two_lists_are_enough(folder: Path) -> None:
    loaded = load(folder, "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [token]}")

    assert [rule.name for rule in loaded.rule_set.rules] == ["one"]
    assert loaded.store_path == folder / "data" / "monitor.db"
    assert loaded.warnings == ()


def test_all_mistakes_come_at_once_those_of_the_rules_too(folder: Path) -> None:
    (folder / "bad.yml").write_text("rules: [{name: one}]")
    text = """\
webhook: {app_secrets: [""], verify_token: [x]}
storre: {}
store: {url: "mysql://x"}
forward: [{name: App!, url: "ftp://x"}]
alerts: {alertmanagers: [{url: "http://u:p@h"}]}
tracing: {sample: {failed: 2}, endpoint: "${NOWHERE}"}
rules: {files: [bad.yml]}
"""

    found = mistakes(folder, text)

    assert [mistake.partition(" ")[0] for mistake in found if mistake.startswith("monitor.yml")] == [
        "monitor.yml:1:25:", "monitor.yml:1:30:", "monitor.yml:2:1:", "monitor.yml:3:9:", "monitor.yml:4:12:",
        "monitor.yml:4:24:", "monitor.yml:5:27:", "monitor.yml:6:20:", "monitor.yml:6:32:", "monitor.yml:6:32:",
    ]  # fmt: skip
    assert any("did you mean verify_tokens?" in one for one in found)
    assert any("bad.yml" in mistake and "rules[0].match: required" in mistake for mistake in found)
    assert any("NOWHERE is not set" in mistake for mistake in found)


def test_a_variable_is_read_within_brackets_without_quotes(folder: Path) -> None:
    text = 'webhook: {app_secrets: [${SECRET}, "${SECRET}-old"], verify_tokens: [${TOKEN}]}'

    loaded = load(folder, text, SECRET="0123456789abcdef", TOKEN="t")

    assert [secret.reveal() for secret in loaded.app_secrets] == ["0123456789abcdef", "0123456789abcdef-old"]


def test_a_variable_that_is_not_set_is_a_mistake_at_its_place(folder: Path) -> None:
    text = "webhook:\n  app_secrets: [0123456789abcdef]\n  verify_tokens: [${TOKEN}]"

    assert mistakes(folder, text) == [
        "monitor.yml:3:19: webhook.verify_tokens[0]: the environment variable TOKEN is not set"
    ]


def test_secrets_come_from_files_one_a_line(folder: Path) -> None:
    (folder / "secrets").write_text("0123456789abcdef\n\nfedcba9876543210\n")

    loaded = load(folder, "webhook: {app_secrets_file: secrets, verify_tokens: [t]}")

    assert [secret.reveal() for secret in loaded.app_secrets] == ["0123456789abcdef", "fedcba9876543210"]


@pytest.mark.parametrize(
    "text", ["webhook: {verify_tokens: [t]}", "webhook: {app_secrets_file: gone, verify_tokens: [t]}"]
)
def test_without_a_secret_nothing_starts(folder: Path, text: str) -> None:
    (mistake,) = mistakes(folder, text)

    assert "webhook.app_secrets" in mistake


def test_no_secret_is_ever_printed(folder: Path) -> None:
    loaded = load(folder, "webhook: {app_secrets: [top-secret-value], verify_tokens: [top-secret-token]}")

    assert "top-secret" not in repr(loaded) + str(loaded) + f"{loaded.config.model_dump_json()}"


def test_a_short_secret_is_a_warning(folder: Path) -> None:
    loaded = load(folder, "webhook: {app_secrets: [short], verify_tokens: [t]}")

    assert "shorter than 16 characters" in str(loaded.warnings[0])


def test_a_missing_rules_file_is_a_mistake(folder: Path) -> None:
    text = "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [t]}\nrules: {files: [none/*.yml]}"

    (mistake,) = mistakes(folder, text)

    assert mistake.startswith("monitor.yml:2:17: rules.files[0]: no rules file matches")


def test_the_hash_key_is_made_once_and_is_nobody_else_s_to_read(folder: Path) -> None:
    loaded = load(folder, "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [t]}")

    first, second = loaded.hash_key(), loaded.hash_key()

    assert first == second
    assert len(first) == 64
    assert (folder / "data" / "hash.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("messages: {time_to_live: {marketting: 1h}}", "did you mean marketing?"),
        ("messages: {time_to_live: {utility: 0s}}", "messages.time_to_live.utility: input should be greater than 0"),
        ("messages: {buffer: soon}", "not a duration"),
        ("campaigns: {callback_path: '$.['}", "not a JSON path (RFC 9535)"),
        ("campaigns: {callback_regex: '('}", "not an RE2 expression"),
        ("campaigns: {callback_path: '$.a', callback_regex: a}", "at most one of callback_path and callback_regex"),
        ("codes: [{code: 5, class: policy_blok}]", "did you mean policy_block?"),
        ("codes: [{code: 5, resend: {after: never}}]", "codes[0].resend.after: not a duration"),
        ("codes: [{title: x}]", "codes[0].code: required, but missing"),
        ("resends: {from_catalog: true}", "did you mean from_catalogue?"),
        ("metrics: {idle_after: 0s}", "metrics.idle_after"),
    ],
)
def test_what_is_wrong_with_a_section_is_said_at_its_place(folder: Path, section: str, said: str) -> None:
    (found,) = mistakes(folder, f"{SECRETS}\n{section}")

    assert said in found
    assert found.startswith("monitor.yml:2:")


def test_codes_and_lifetimes_of_one_s_own_come_over_the_shipped_ones(folder: Path) -> None:
    loaded = load(
        folder,
        SECRETS + "\ncodes: [{code: 131026, retryable: never}, {code: 131777, class: policy_block, "
        "resend: {after: 1h, most: 2}}]\n"
        "messages: {time_to_live: {utility: 1h, other: 2d}, templates: {parcel: 30s}}\n"
        "campaigns: {callback_path: $.campaign, by_template: false}",
    )

    known = loaded.catalogue().codes

    assert (known[131026].retryable, known[131026].title) == ("never", "Message Undeliverable")
    assert (known[131777].kind, known[131777].hits) == ("policy_block", "message")
    assert len(known) == 195
    assert loaded.policy().time_to_live == {"authentication": 600.0, "utility": 3600.0, "": 172_800.0}
    assert loaded.policy().templates == {"parcel": 30.0}
    assert (loaded.naming().path, loaded.naming().by_template) == ("$.campaign", False)
