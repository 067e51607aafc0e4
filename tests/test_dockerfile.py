"""The Dockerfile keeps its promises on paper; tests/e2e/test_image.py builds it and runs it."""

import re
import shlex
from pathlib import Path

import msgspec
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]


class Instruction(msgspec.Struct, frozen=True):
    """An instruction of the Dockerfile, its continued lines joined, and its stage: 0 stands above the first."""

    stage: int
    word: str
    rest: str


def instructions() -> list[Instruction]:
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    found: list[Instruction] = []
    stage = 0
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        stage += word == "FROM"
        found.append(Instruction(stage, word, rest.strip()))
    return found


def of(word: str, stage: int | None = None) -> list[str]:
    return [found.rest for found in instructions() if found.word == word and stage in (None, found.stage)]


def copied_from_the_repository() -> list[str]:
    words = [shlex.split(rest) for rest in of("COPY") if "--from=" not in rest]
    return [source for line in words for source in line[:-1] if not source.startswith("--")]


def ignore_patterns() -> list[str]:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_two_stages_stand_on_one_base_that_a_build_argument_can_replace() -> None:
    stages = of("FROM")

    assert stages == ["${BASE} AS builder", "${BASE}"]
    assert [name.partition("=")[0] for name in of("ARG", stage=0)] == ["BASE"]


def test_the_default_base_has_a_version_and_is_not_latest() -> None:
    (base,) = of("ARG", stage=0)

    tag = base.partition("=")[2].rpartition("/")[2].partition(":")[2]

    assert re.match(r"3\.\d+-", tag)
    assert "latest" not in (REPOSITORY / "Dockerfile").read_text()


def test_the_default_base_has_the_python_that_the_dependencies_are_locked_for() -> None:
    locked = re.search(r"--python-version (3\.\d+)", (REPOSITORY / "scripts" / "lock").read_text())

    (base,) = of("ARG", stage=0)

    assert locked
    assert f"python:{locked[1]}-" in base


def test_the_container_runs_as_a_numbered_user_who_is_not_root() -> None:
    (user,) = of("USER", stage=2)

    number, group = user.split(":")

    assert number.isdecimal()
    assert group.isdecimal()
    assert "0" not in (number, group)


def test_the_data_folder_is_a_volume_that_the_user_owns() -> None:
    (user,) = of("USER", stage=2)

    assert of("VOLUME", stage=2) == ["/data"]
    assert [rest for rest in of("COPY", stage=2) if f"--chown={user}" in rest and rest.endswith(" /data")]


def test_the_health_check_needs_neither_a_shell_nor_curl() -> None:
    (check,) = of("HEALTHCHECK", stage=2)

    command = yaml.safe_load(check.partition("CMD ")[2])

    assert command[:2] == ["/opt/venv/bin/python3", "-c"]
    assert "/-/healthy" in command[2]
    compile(command[2], "HEALTHCHECK", "exec")


def test_the_final_stage_runs_nothing_and_takes_everything_from_the_builder() -> None:
    copies = of("COPY", stage=2)

    assert of("RUN", stage=2) == []
    assert copies
    assert [rest for rest in copies if not rest.startswith("--from=builder ")] == []


def test_every_copied_source_exists_and_is_let_through_by_dockerignore() -> None:
    sources = copied_from_the_repository()

    missing = [source for source in sources if not (REPOSITORY / source).exists()]
    kept_out = [source for source in sources if f"!{source}" not in ignore_patterns()]

    assert sources
    assert (missing, kept_out) == ([], [])


def test_dockerignore_lets_nothing_else_into_a_build() -> None:
    patterns = ignore_patterns()

    allowed = {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}

    assert patterns[0] == "*"
    assert allowed == set(copied_from_the_repository())


def test_dependencies_are_installed_by_hash_and_without_building_any() -> None:
    installs = [rest for rest in of("RUN") if "pip" in rest and " install " in rest]

    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]
    assert "requirements/runtime.txt /build/requirements.txt" in of("COPY", stage=1)


def test_python_writes_no_bytecode_and_never_imports_from_the_working_folder() -> None:
    environment = " ".join(of("ENV", stage=2)).split()

    assert {"PYTHONDONTWRITEBYTECODE=1", "PYTHONSAFEPATH=1", "PYTHONUNBUFFERED=1", "TMPDIR=/data"} <= set(environment)


def test_the_default_configuration_keeps_the_store_on_the_volume_and_takes_its_secrets_from_the_environment() -> None:
    config = yaml.safe_load((REPOSITORY / "deploy" / "monitor.yml").read_text())

    assert config["store"]["url"].startswith("sqlite:////data/")
    assert config["webhook"]["app_secrets"] == ["${META_APP_SECRET}"]
    assert config["webhook"]["verify_tokens"] == ["${META_VERIFY_TOKEN}"]


def test_the_container_serves_with_the_default_configuration_unless_told_otherwise() -> None:
    environment = " ".join(of("ENV", stage=2)).split()

    assert "WHATSAPP_MONITOR_CONFIG_FILE=/etc/whatsapp-monitor/monitor.yml" in environment
    assert [rest for rest in of("COPY", stage=2) if rest.endswith("/build/config /etc/whatsapp-monitor")]
    assert of("CMD", stage=2) == ['["serve"]']


def test_the_rules_that_the_default_configuration_names_are_in_the_image() -> None:
    config = yaml.safe_load((REPOSITORY / "deploy" / "monitor.yml").read_text())

    shipped = {rest.split()[0]: rest.split()[1] for rest in of("COPY", stage=1)}

    assert config["rules"]["files"] == ["rules/monitor/*.yml"]
    assert shipped["rules/monitor"] == "/build/config/rules/monitor"
    assert shipped["deploy/monitor.yml"] == "/build/config/monitor.yml"
