"""The configuration file: right ones to a record, wrong ones to every mistake with its place."""

import os
from pathlib import Path

import pytest

from monitor import config, document, roles
from monitor.config import Loaded
from monitor.document import Document, Mistaken
from monitor.roles import Role

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


def test_what_reads_the_texts_hears_of_no_variable(folder: Path) -> None:
    heard: list[tuple[str, bytes]] = []

    def reader(text: bytes, file: str) -> Document:
        heard.append((Path(file).name, text))
        return document.read(text, file)

    (folder / "monitor.yml").write_text("webhook: {app_secrets: [${SECRET}], verify_tokens: [t]}")
    (folder / "web.yml").write_text("http_server_config: {http2: false}")
    environment = {"SECRET": "0123456789abcdef"}
    loaded = config.load(folder / "monitor.yml", environment, web_path=folder / "web.yml", reader=reader)

    assert [name for name, _ in heard] == ["monitor.yml", "web.yml", "core.yml"]
    assert loaded.app_secrets[0].reveal() == "0123456789abcdef"
    assert b"0123456789abcdef" not in b"".join(text for _, text in heard)


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


def test_a_file_of_tests_is_no_rules_file_and_told_so(folder: Path) -> None:
    (folder / "core_test.yml").write_text("tests: []")

    (mistake,) = mistakes(folder, f"{SECRETS}\nrules: {{files: [core_test.yml]}}")

    assert mistake.endswith("core_test.yml; tests (`*_test.yml`) are left out")


@pytest.mark.parametrize("pattern", ["", "/", ".", "**x", "a" * 5000, "*/" * 500])
def test_what_is_no_pattern_of_files_is_a_mistake_at_its_place(folder: Path, pattern: str) -> None:
    (mistake,) = mistakes(folder, f"{SECRETS}\nrules: {{files: ['{pattern}']}}")

    assert mistake.startswith("monitor.yml:2:17: rules.files[0]: not a pattern of files: ")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("secrets", "is no rules file: its name does not end in .yml or .yaml"),
        ("pipe", "is no rules file: its name does not end in .yml or .yaml"),
        ("pipe.yml", "is no file"),
        ("device.yml", "is no file"),
    ],
)
def test_what_is_no_rules_file_is_not_looked_into(folder: Path, name: str, told: str) -> None:
    (folder / "secrets").write_text("root:$6$hash:\n")
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.yml")
    (folder / "device.yml").symlink_to("/dev/zero")

    (mistake,) = mistakes(folder, f"{SECRETS}\nrules: {{files: [{name}]}}")

    assert mistake == f"monitor.yml:2:17: rules.files[0]: {name} {told}"


def test_a_file_that_is_something_else_as_a_whole_is_not_shown(folder: Path) -> None:
    (mistake,) = mistakes(folder, "root-hash-of-another-file")

    assert mistake.startswith("monitor.yml:1:1: must be a mapping with the keys webhook, ")
    assert "root-hash" not in mistake


def test_a_key_for_hashes_that_is_not_there_is_a_mistake(folder: Path) -> None:
    (mistake,) = mistakes(folder, f"{SECRETS}\nprivacy: {{keys_file: gone}}")

    assert mistake.startswith("monitor.yml:2:11: privacy.keys_file: gone can")


def test_the_hash_key_is_made_once_and_is_nobody_else_s_to_read(folder: Path) -> None:
    loaded = load(folder, "webhook: {app_secrets: [0123456789abcdef], verify_tokens: [t]}")

    first, second = loaded.hash_keys(), loaded.hash_keys()

    assert first == second
    assert [len(key) for key in first] == [64]
    assert (folder / "data" / "hash.key").stat().st_mode & 0o077 == 0


def test_of_several_hash_keys_the_first_is_in_force(folder: Path) -> None:
    (folder / "keys").write_text("the-key-before-0123\nthe-first-key-0123\n")

    several = load(folder, f"{SECRETS}\nprivacy: {{keys: [the-newest-key-0123], keys_file: keys}}")
    made = load(folder, SECRETS)
    (old,) = made.hash_keys()
    (folder / "data" / "hash.key").write_bytes(b"a-line-above-it-0123\n" + old)

    assert several.hash_keys() == (b"the-newest-key-0123", b"the-key-before-0123", b"the-first-key-0123")
    assert several.hash_key() == b"the-newest-key-0123"
    assert made.hash_keys() == (b"a-line-above-it-0123", old)


def test_webhooks_that_go_before_rules_have_looked_at_them_are_a_warning(folder: Path) -> None:
    counting = RULES.replace("match", "count: {at_least: 2, within: 3h}, match")
    (folder / "rules" / "monitor" / "core.yml").write_text(counting)

    (warning,) = load(folder, f"{SECRETS}\nstore: {{body_retention: 1m}}").warnings

    assert "store.body_retention: rules look 4h" in str(warning)
    assert load(folder, SECRETS).warnings == ()


def test_a_short_hash_key_is_a_warning_and_a_missing_one_a_mistake(folder: Path) -> None:
    short = load(folder, f"{SECRETS}\nprivacy: {{keys: [short]}}")

    assert "numbers can be found by trying" in str(short.warnings[0])
    assert "privacy.keys_file: " in mistakes(folder, f"{SECRETS}\nprivacy: {{keys_file: gone}}")[0]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("messages: {time_to_live: {marketting: 1h}}", "did you mean marketing?"),
        ("messages: {time_to_live: {utility: 0s}}", "messages.time_to_live.utility: must be greater than 0"),
        ("messages: {buffer: soon}", "not a duration"),
        ("campaigns: {callback_path: '$.['}", "not a JSON path (RFC 9535)"),
        ("campaigns: {callback_path: '$[?@.a==1e999]'}", "not a JSON path (RFC 9535)"),
        ("campaigns: {callback_path: '$[" + "9" * 5000 + "]'}", "not a JSON path (RFC 9535)"),
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


def test_the_hash_key_may_be_one_s_own(folder: Path) -> None:
    (folder / "key").write_text("k" * 70)

    written = load(folder, f"{SECRETS}\nprivacy: {{keys: [abc]}}").hash_key()
    of_file = load(folder, f"{SECRETS}\nprivacy: {{keys_file: key}}").hash_key()

    assert (written, of_file) == (b"abc", b"k" * 64)
    assert not (folder / "data" / "hash.key").exists()


def test_a_configuration_that_cannot_be_read_is_a_mistake(folder: Path) -> None:
    with pytest.raises(Mistaken) as caught:
        config.load(folder / "gone.yml", {})
    assert str(caught.value) == f"{folder}/gone.yml: can't be read: No such file or directory"

    (folder / "dir.yml").mkdir()
    (mistake,) = mistakes(folder, f"{SECRETS}\nrules: {{files: [dir.yml]}}")
    assert mistake == "monitor.yml:2:17: rules.files[0]: dir.yml can't be read: Is a directory"


def test_operators_do_everything_where_nobody_is_named_as_admin(folder: Path) -> None:
    alone = load(folder, f"{SECRETS}\nweb: {{viewer_tokens: [v], operator_tokens: [o]}}")
    both = load(folder, f"{SECRETS}\nweb: {{operator_tokens: [o], admin_tokens: [a]}}")

    assert [(one.proof, one.role) for one in alone.granted] == [
        (roles.proof_of("v"), Role.VIEWER), (roles.proof_of("o"), Role.ADMIN),
    ]  # fmt: skip
    assert [(one.proof, one.role) for one in both.granted] == [
        (roles.proof_of("o"), Role.OPERATOR), (roles.proof_of("a"), Role.ADMIN),
    ]  # fmt: skip


def test_rules_that_cannot_be_read_are_said_beside_other_mistakes(folder: Path) -> None:
    wrong = mistakes(folder, f"{SECRETS}\nstorre: 1\nrules: {{files: 5}}")
    missing = mistakes(folder, f"{SECRETS}\nstorre: 1\nrules: {{files: [none.yml]}}")
    empty = mistakes(folder, "")

    assert [one.split(":")[1] for one in wrong] == ["2", "3"]
    assert "no rules file matches" in missing[1]
    assert empty == ["monitor.yml:1:1: webhook: required, but missing"]


def test_a_rule_s_webhook_is_one_that_is_configured(folder: Path) -> None:
    rules = "rules: [{name: one, match: {code: 1}, actions: [{webhook: {to: hok}}, {webhook: {to: webhook_1}}, flag]}]"
    (folder / "rules" / "monitor" / "core.yml").write_text(rules)
    targets = "alerts: {webhooks: [{url: 'http://h', name: hook}, {url: 'http://h'}]}"

    (mistake,) = mistakes(folder, f"{SECRETS}\n{targets}")

    assert (
        "core.yml:1:9: one.actions.webhook.to: alerts.webhooks has none named hok; allowed: hook, webhook_1" in mistake
    )
    assert mistake.endswith("did you mean hook?")


def test_a_file_of_secrets_without_end_is_a_mistake(folder: Path) -> None:
    (mistake,) = mistakes(folder, "webhook: {app_secrets_file: /dev/zero, verify_tokens: [t]}")

    assert mistake == "monitor.yml:1:11: webhook.app_secrets_file: /dev/zero is no file"


def test_the_key_that_was_made_beside_the_store_is_a_mistake_where_it_is_lost(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "hash.key").touch()

    (empty,) = mistakes(folder, f"{SECRETS}\nprivacy: {{}}")
    load(folder, f"{SECRETS}\nprivacy: {{keys: [a-key-of-our-own-0123]}}")
    (folder / "data" / "hash.key").unlink()
    (folder / "data" / "hash.key").mkdir()
    (directory,) = mistakes(folder, f"{SECRETS}\nprivacy: {{}}")

    assert empty.startswith("monitor.yml:2:1: privacy.keys: data/hash.key holds no secret")
    assert directory.startswith("monitor.yml:2:1: privacy.keys: data/hash.key is no file")


def test_a_variable_that_is_no_utf_8_is_a_mistake_at_its_place(folder: Path) -> None:
    text = "webhook: {app_secrets: [${SECRET}], verify_tokens: [t]}"

    assert mistakes(folder, text, SECRET="0123456789abcdef\udcff") == [
        "monitor.yml:1:25: webhook.app_secrets[0]: the environment variable SECRET is not UTF-8"
    ]


@pytest.mark.parametrize("line", ["sha256:abcd", f"bob sha256:{'a' * 63}", f"SHA256:{'a' * 63}", f"sha256:{'g' * 64}"])
def test_what_should_be_a_digest_and_is_none_is_no_token(folder: Path, line: str) -> None:
    (mistake,) = mistakes(folder, f"{SECRETS}\nweb: {{operator_tokens: ['{line}']}}")

    assert mistake.startswith("monitor.yml:2:7: web.operator_tokens: must be TOKEN or NAME TOKEN")
    assert line not in mistake


def test_each_file_of_secrets_that_is_gone_is_a_mistake_at_its_place(folder: Path) -> None:
    web = "\n".join(f"  {name}_tokens_file: gone" for name in ("viewer", "operator", "admin"))
    hook = "webhook:\n  app_secrets_file: gone\n  verify_tokens_file: gone"

    found = mistakes(folder, f"{hook}\nweb:\n{web}")

    assert [one.split(": ")[1] for one in found] == [
        "webhook.app_secrets_file", "webhook.verify_tokens_file", "web.viewer_tokens_file", "web.operator_tokens_file",
        "web.admin_tokens_file",
    ]  # fmt: skip


def test_lists_of_secrets_that_are_empty_are_mistakes(folder: Path) -> None:
    found = mistakes(folder, "webhook: {app_secrets: [], verify_tokens: []}")

    assert found == [
        "monitor.yml:1:11: webhook.app_secrets: required: at least one, here or in app_secrets_file",
        "monitor.yml:1:28: webhook.verify_tokens: required: at least one, here or in verify_tokens_file",
    ]


def test_only_what_is_shorter_than_16_characters_is_short(folder: Path) -> None:
    loaded = load(folder, f"webhook: {{app_secrets: [{'a' * 16}, {'b' * 15}], verify_tokens: [t]}}")

    assert [str(one).replace(f"{folder}/", "").partition(";")[0] for one in loaded.warnings] == [
        "monitor.yml:1:11: webhook.app_secrets: shorter than 16 characters"
    ]


def test_files_of_rules_are_found_by_patterns_from_here_and_from_the_root(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = load(folder, f"{SECRETS}\nrules: {{files: ['{folder}/rules/*/*.yml']}}").rule_set.rules
    monkeypatch.chdir(folder)
    near = load(
        folder, f"{SECRETS}\nrules: {{files: ['rules/monitor/*.yml', 'rules/monitor/core.yml']}}"
    ).rule_set.rules

    assert [rule.place for rule in far] == [f"{folder}/rules/monitor/core.yml:1:9"]
    assert [rule.place for rule in near] == ["rules/monitor/core.yml:1:9"]


def test_an_empty_pattern_stands_for_no_rules(folder: Path) -> None:
    loaded = load(folder, f"{SECRETS}\nrules: {{files: []}}")

    assert loaded.rule_set.rules == ()
    assert loaded.store_path == folder.resolve() / "data" / "monitor.db"
