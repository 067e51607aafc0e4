"""Documentation: every option, metric, rule key, action, route, alert and file has its entry."""

import json
import re
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pydantic
import pytest

from monitor import codes, config, document, grammar, rule_files, rule_tests, sections, vocabulary
from monitor.cli import explain, main
from tests import promql, setting
from tests.harness import lanes

ROOT = Path(__file__).parents[1]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def keys(model: type[pydantic.BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for part in re.findall(r"monitor\.sections\.(\w+)", str(field.annotation)):
            yield from keys(getattr(sections, part))


@pytest.mark.parametrize("key", sorted(set(keys(sections.Config))))
def test_every_configuration_key_is_documented(key: str) -> None:
    text = page("docs/configuration.md")

    assert re.search(rf"\b{key}\b", text)


def test_the_example_configuration_is_right(tmp_path: Path) -> None:
    example = re.findall(r"```yaml\n(.*?)```", page("docs/configuration.md"), re.DOTALL)[0]
    (tmp_path / "rules" / "monitor").mkdir(parents=True)
    (tmp_path / "rules" / "monitor" / "core.yml").write_text(page("rules/monitor/core.yml"))
    (tmp_path / "monitor.yml").write_text(example)

    loaded = config.load(tmp_path / "monitor.yml", {"META_APP_SECRET": "x" * 32, "META_VERIFY_TOKEN": "token"})

    assert [target.name for target in loaded.config.forward] == ["app"]
    assert loaded.warnings == ()


def test_every_option_and_variable_of_serve_is_documented() -> None:
    text = page("docs/configuration.md")
    serve = main.commands["serve"]

    for option in serve.params:
        assert isinstance(option, click.Option)
        assert f"`{option.opts[0]}`" in text
        assert option.envvar is not None
        assert f"`{option.envvar[0]}`" in text


@pytest.mark.parametrize("name", sorted(promql.exported_metrics()))
def test_every_metric_is_documented(name: str) -> None:
    text = page("docs/metrics.md")
    family = re.sub(r"(_seconds)_(bucket|count|sum)$", r"\1", name)

    assert f"`{family}`" in text


def test_every_label_is_documented() -> None:
    text = page("docs/metrics.md")
    metrics = setting.metrics()

    for cached in vars(metrics).values():
        for label in getattr(getattr(cached, "metric", None), "_labelnames", ()):
            assert f"`{label}`" in text


def examples() -> list[tuple[str, str]]:
    """Return each example of docs/rules.md with its tests."""
    blocks = re.findall(r"```yaml\n(.*?)```", page("docs/rules.md"), re.DOTALL)
    return list(zip(blocks[::2], blocks[1::2], strict=True))


@pytest.mark.parametrize("key", [*grammar.RuleSpec.model_fields, *grammar.ActionSpec.model_fields])
def test_every_rule_key_and_action_is_documented_with_an_example(key: str) -> None:
    written = {"pending": "for"}.get(key, key)

    assert f"`{written}`" in page("docs/rules.md")
    assert any(re.search(rf"\b{written}\b", rule) for rule, _ in examples())


def test_every_fact_is_documented() -> None:
    text = page("docs/rules.md")

    for fact in typing.get_args(vocabulary.FactName):
        assert f"`{fact}`" in text


def test_every_key_of_rule_tests_is_documented() -> None:
    text = page("docs/rules.md")
    specs = (
        rule_tests.EventSpec,
        rule_tests.PauseSpec,
        rule_tests.FlagSpec,
        rule_tests.ResendSpec,
        rule_tests.AlertSpec,
        rule_tests.FiringSpec,
        rule_tests.DoneSpec,
    )

    for spec in specs:
        for name in spec.model_fields:
            assert re.search(rf"\b{name}\b", text), name


@pytest.mark.parametrize(("rule", "test"), examples(), ids=lambda text: str(text).split("name: ")[1].split("\n")[0])
def test_the_examples_of_rules_and_their_tests_run(rule: str, test: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rule)
    (tmp_path / "rules_test.yml").write_text(test)

    result = rule_tests.run(tmp_path / "rules_test.yml")

    assert (len(result.outcomes), result.failures) == (1, [])


def test_the_published_schema_of_rules_is_the_code_s() -> None:
    published: dict[str, Any] = json.loads(page("rules/rules.schema.json"))

    assert published == rule_files.json_schema()


@pytest.mark.parametrize("name", ["core", "extra"])
def test_the_shipped_rules_fulfil_the_published_schema_and_their_own_tests(name: str) -> None:
    read = document.read((ROOT / f"rules/monitor/{name}.yml").read_bytes(), name)

    jsonschema.validate(read.value, rule_files.json_schema())
    assert rule_tests.run(ROOT / f"rules/monitor/{name}_test.yml").failures == []


def test_the_page_of_error_codes_is_the_catalogue_s() -> None:
    assert page("docs/error-codes.md") == explain.markdown(codes.catalogue())


def test_every_code_has_its_advice_and_words_that_rules_can_match() -> None:
    for code in codes.catalogue().codes.values():
        assert code.meaning, code.code
        assert code.advice, code.code
        assert code.title, code.code
        assert (code.kind in codes.CLASSES, code.hits in codes.HITS, code.retryable in codes.RETRYABLE) == (True,) * 3
        assert code.resend is None or code.retryable == "later"


def test_every_route_is_documented() -> None:
    text = page("docs/http.md")
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "monitor/web").glob("*.py"))

    for route in set(re.findall(r'Route\("(/[^"]+)"', source)):
        shown = re.sub(r"\{(\w+):path\}", r"{\1}", re.sub(r"\{\w+?_id(:int)?\}", "{id}", route))
        assert shown in text, route


def test_the_table_of_lanes_and_faults_is_that_which_the_real_process_is_tested_by() -> None:
    section = page("docs/http.md").partition("## When something has failed")[2].partition("\n## ")[0]

    assert [line for line in section.splitlines() if line.startswith("|")] == lanes.documented()


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]

    for one in pages:
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", one.read_text(encoding="utf-8")):
            assert (one.parent / link).exists(), f"{one.name}: {link}"


def test_what_reliability_names_is_there() -> None:
    named = set(re.findall(r"\btest_\w+\.py", page("docs/reliability.md")))
    there = {file.name for file in (ROOT / "tests").rglob("test_*.py")}

    assert len(named) > 20
    assert named <= there


def test_every_room_has_its_floor_in_the_architecture() -> None:
    text = page("docs/architecture.md")

    for file in (ROOT / "monitor").glob("*.py"):
        assert file.stem == "__init__" or f"`{file.stem}`" in text, file.name


def test_the_snippets_about_followers_are_those_of_the_examples_that_are_run() -> None:
    _, loop, task = re.findall(r"```python\n(.*?)```", page("docs/clients.md"), re.DOTALL)

    for snippet, name in ((loop, "plain_loop"), (task, "celery_tasks")):
        assert textwrap.dedent(snippet).strip() in unindented(page(f"docs/examples/{name}.py"), snippet)


def unindented(source: str, snippet: str) -> str:
    """Return the source shifted left so far that the snippet's first line begins in the first column."""
    first = snippet.splitlines()[0]
    (line,) = [line for line in source.splitlines() if line.strip() == first]
    width = len(line) - len(first)
    return "\n".join(line[width:] if not line[:width].strip() else line for line in source.splitlines())
