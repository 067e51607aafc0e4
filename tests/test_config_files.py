"""What stands in the files that a configuration names, and in the configuration as a file."""

import os
from pathlib import Path

import pytest

from monitor import config
from monitor.campaigns import Naming
from monitor.config import Entrance
from monitor.document import Mistake, Mistaken
from tests.test_config import RULES, SECRETS, load, mistakes

OWN = f"{SECRETS}\nrules: {{files: [own.yml]}}"


def mistake_of_entrance(folder: Path, text: str, *, is_meta_s: bool) -> Mistake:
    """Return the one mistake of a right configuration beside a listener's file."""
    (folder / "own.yml").write_text(RULES)
    (folder / "monitor.yml").write_text(OWN)
    entrance = folder / "entrance.yml"
    entrance.write_text(text)
    with pytest.raises(Mistaken) as caught:
        config.load(folder / "monitor.yml", {}, *((None, entrance) if is_meta_s else (entrance, None)))
    (mistake,) = caught.value.mistakes
    return mistake


def test_a_file_that_cannot_be_read_is_a_mistake_of_the_file_as_a_whole(tmp_path: Path) -> None:
    gone = tmp_path / "gone.yml"

    with pytest.raises(Mistaken) as caught:
        config.load(gone, {})

    assert caught.value.mistakes == (Mistake(str(gone), 0, 0, "", "can't be read: No such file or directory"),)


def test_what_is_no_utf_8_is_told_with_its_place_behind_a_variable(tmp_path: Path) -> None:
    (tmp_path / "monitor.yml").write_bytes(b"webhook:\n  app_secrets: [${SECRET}, \xff]\n")

    with pytest.raises(Mistaken, match=r"monitor\.yml:2:28: not UTF-8"):
        config.load(tmp_path / "monitor.yml", {})


def test_a_configuration_is_not_taken_with_rules_that_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("rules: [{name: one, actions: [flag]}]")

    assert mistakes(tmp_path, OWN) == ["own.yml:1:9: rules[0].match: required, but missing"]


def test_a_rules_file_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a:b.yml").write_text("rules: [{name: one, match: {code: 1}, actions: [{webhook: {to: hook}}]}]")

    (mistake,) = mistakes(tmp_path, f"{SECRETS}\nrules: {{files: ['a:b.yml']}}")

    assert mistake.startswith("a:b.yml:1:9: one.actions.webhook.to: alerts.webhooks has none named hook")


@pytest.mark.parametrize(
    ("kept", "warned"),
    [
        ("body_retention: 4h", []),
        ("retention: 4h", []),
        ("body_retention: 239m", ["monitor.yml:3:9: store.body_retention"]),
        ("retention: 239m", ["monitor.yml:3:9: store.retention"]),
        ("retention: 1h, body_retention: 4h", []),
    ],
)
def test_rules_may_look_back_just_as_far_as_webhooks_are_kept(tmp_path: Path, kept: str, warned: list[str]) -> None:
    (tmp_path / "own.yml").write_text(RULES.replace("match", "count: {at_least: 2, within: 3h}, match"))

    loaded = load(tmp_path, f"{OWN}\nstore: {{{kept}}}")

    found = [str(one).replace(f"{tmp_path}/", "").partition(": rules look 4h back")[0] for one in loaded.warnings]
    assert found == warned


def test_a_short_hash_key_is_told_at_its_place(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text(RULES)

    (warning,) = load(tmp_path, f"{OWN}\nprivacy: {{keys: [short]}}").warnings

    assert (warning.line, warning.column, warning.path) == (3, 11, "privacy.keys")


@pytest.mark.parametrize(
    ("section", "naming"),
    [
        ("", Naming("", "", by_template=True)),
        ("campaigns: {callback_path: $.a}", Naming("$.a", "", by_template=True)),
        ("campaigns: {callback_regex: a}", Naming("", "a", by_template=True)),
    ],
)
def test_campaigns_are_named_by_what_is_written_and_nothing_else(tmp_path: Path, section: str, naming: Naming) -> None:
    (tmp_path / "own.yml").write_text(RULES)

    assert load(tmp_path, f"{OWN}\n{section}").naming() == naming


def test_meta_s_listener_has_no_users(tmp_path: Path) -> None:
    users = f"basic_auth_users: {{ann: $2b$10${'e' * 53}}}"

    assert mistake_of_entrance(tmp_path, users, is_meta_s=True) == Mistake(
        str(tmp_path / "entrance.yml"), 0, 0, "basic_auth_users", "Meta signs its webhooks, and knows none"
    )


@pytest.mark.parametrize("is_meta_s", [False, True])
def test_a_certificate_that_cannot_be_used_is_a_mistake_of_the_listener_s_file(tmp_path: Path, is_meta_s: bool) -> None:
    mistake = mistake_of_entrance(tmp_path, "tls_server_config: {cert_file: gone, key_file: gone}", is_meta_s=is_meta_s)

    assert (mistake.file, mistake.line, mistake.column) == (str(tmp_path / "entrance.yml"), 0, 0)
    assert mistake.path == "tls_server_config"
    assert mistake.message.startswith("can't be used: ")


def test_no_certificate_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    pipe = mistake_of_entrance(tmp_path, "tls_server_config: {cert_file: pipe, key_file: pipe}", is_meta_s=False)
    empty = mistake_of_entrance(tmp_path, "tls_server_config: {cert_file: '', key_file: ''}", is_meta_s=False)

    assert pipe.message == f"can't be used: {tmp_path}/pipe is no file"
    assert empty.message == f"can't be used: {tmp_path} is no file"


def test_the_files_of_a_listener_stand_beside_its_own(tmp_path: Path) -> None:
    assert Entrance(tmp_path / "web.yml").directory == tmp_path.resolve()
    assert Entrance().directory == Path()
