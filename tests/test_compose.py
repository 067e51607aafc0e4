"""The compose stack: every file of the shape that its program documents, and all of them fit together.

Prometheus' and Alertmanager's files are checked by their own tools, the sidecar's by the sidecar, the others by schemas
that restate what their documentation says of the keys in use (tests/documented/).
"""

import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from monitor import config
from monitor.roles import proof_of
from tests.harness import peer

ROOT = Path(__file__).parents[1]
STACK = ROOT / "deploy" / "compose"
PROVISIONING = ROOT / "dashboards" / "provisioning"
SHAPES = {
    "compose": [STACK / "compose.yml"],
    "tempo": [STACK / "tempo.yml"],
    "grafana_datasources": sorted((PROVISIONING / "datasources").glob("*.yml")),
    "grafana_dashboards": sorted((PROVISIONING / "dashboards").glob("*.yml")),
}
CASES = [(shape, file) for shape, files in SHAPES.items() for file in files]


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(STACK / "compose.yml")["services"]
    return found


def mounts(service: str) -> dict[str, str]:
    """Return what is mounted into a service, by its place there."""
    return {target: source for source, target, *_ in (one.split(":") for one in services()[service]["volumes"])}


def environment(service: str) -> dict[str, str]:
    found: dict[str, str] = services()[service]["environment"]
    return found


def as_mounted(text: str, service: str) -> str:
    """Return a service's configuration with this repository's paths in the place of its own."""
    for target, source in mounts(service).items():
        if source.startswith("."):
            text = text.replace(target, str((STACK / source).resolve()))
    return text


@pytest.mark.parametrize(("shape", "file"), CASES, ids=lambda one: getattr(one, "name", one))
def test_a_file_has_the_shape_that_its_program_documents(shape: str, file: Path) -> None:
    schema = read(ROOT / "tests" / "documented" / f"{shape}.yml")

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(read(file), schema)


@pytest.mark.parametrize(("shape", "file"), CASES, ids=lambda one: getattr(one, "name", one))
def test_a_key_that_the_program_does_not_know_would_be_found(shape: str, file: Path) -> None:
    schema = read(ROOT / "tests" / "documented" / f"{shape}.yml")

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**read(file), "unheard_of": 1}, schema)


def test_promtool_takes_prometheus_configuration_with_its_rules(tmp_path: Path) -> None:
    promtool = peer.path("promtool")
    (tmp_path / "token").write_text("secret", encoding="utf-8")
    text = as_mounted((STACK / "prometheus.yml").read_text(encoding="utf-8"), "prometheus")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/operator_token", str(tmp_path / "token")))

    done = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 0, done.stderr + done.stdout
    assert "2 rule files found" in done.stdout


def test_amtool_takes_alertmanager_s_configuration_and_a_drill_wakes_nobody() -> None:
    amtool, file = peer.path("amtool"), STACK / "alertmanager.yml"

    checked = subprocess.run([amtool, "check-config", file], capture_output=True, text=True, timeout=30)
    routes = [
        subprocess.run([amtool, "config", "routes", "test", f"--config.file={file}", *labels],
                       capture_output=True, text=True, timeout=30).stdout.strip()
        for labels in (["alertname=policy_block", "drill=true"], ["alertname=policy_block"])
    ]  # fmt: skip

    assert checked.returncode == 0, checked.stderr
    assert routes == ["nobody", "people"]


def test_the_sidecar_takes_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "rules" / "monitor").mkdir(parents=True)
    for file in (ROOT / "rules" / "monitor").glob("*.yml"):
        (tmp_path / "rules" / "monitor" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "token").write_text("operator-token-0123456789", encoding="utf-8")
    text = (STACK / "monitor.yml").read_text(encoding="utf-8")
    (tmp_path / "monitor.yml").write_text(text.replace("/run/secrets/operator_token", str(tmp_path / "token")))
    given = dict.fromkeys(environment("monitor"), "x" * 32)

    loaded = config.load(tmp_path / "monitor.yml", given)

    assert loaded.warnings == ()
    assert [one.proof for one in loaded.granted] == [proof_of("operator-token-0123456789")]


def test_what_is_mounted_exists_and_volumes_and_secrets_are_declared() -> None:
    stack = read(STACK / "compose.yml")

    for name, service in services().items():
        for source in mounts(name).values():
            assert (STACK / source).exists() if source.startswith(".") else source in stack["volumes"], source
        assert set(service.get("secrets", [])) <= stack["secrets"].keys()
        assert set(service.get("depends_on", [])) <= services().keys()
    assert (STACK / services()["monitor"]["build"]["context"] / "Dockerfile").is_file()


def test_every_part_calls_the_others_by_their_names_and_ports() -> None:
    monitor, scraped = read(STACK / "monitor.yml"), read(STACK / "prometheus.yml")
    (job,) = scraped["scrape_configs"]
    (alertmanagers,) = scraped["alerting"]["alertmanagers"]
    called = {
        *job["static_configs"][0]["targets"],
        *alertmanagers["static_configs"][0]["targets"],
        *(urlsplit(one["url"]).netloc for one in monitor["alerts"]["alertmanagers"]),
        urlsplit(monitor["tracing"]["endpoint"]).netloc,
        *(urlsplit(environment("grafana")[name]).netloc for name in ("PROMETHEUS_URL", "TEMPO_URL")),
    }

    tempo = read(STACK / "tempo.yml")

    assert called == {"monitor:9368", "alertmanager:9093", "tempo:4318", "prometheus:9090", "tempo:3200"}
    assert {name.split(":")[0] for name in called} <= services().keys()
    assert tempo["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    assert tempo["server"]["http_listen_port"] == 3200
    assert job["job_name"] == "whatsapp-monitor"
    assert "0.0.0.0:9368" in services()["monitor"]["command"]
    assert "--enable-feature=exemplar-storage" in services()["prometheus"]["command"]


def test_grafana_finds_the_dashboards_where_their_provider_looks() -> None:
    (provider,) = read(PROVISIONING / "dashboards" / "whatsapp-monitor.yml")["providers"]

    folder = STACK / mounts("grafana")[provider["options"]["path"]]

    assert len(list(folder.glob("*.json"))) == 7
    sources = "".join(file.read_text(encoding="utf-8") for file in SHAPES["grafana_datasources"])
    assert set(re.findall(r"\$\{(\w+)\}", sources)) <= environment("grafana").keys()


def test_images_are_pinned_ports_are_this_machine_s_only_and_no_secret_is_written_down() -> None:
    for name, service in services().items():
        assert re.search(r":(v?\d+\.\d+\.\d+|local)$", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for variable, value in service.get("environment", {}).items():
            assert value.startswith("${") == bool(re.search("SECRET|TOKEN|PASSWORD", variable)), variable
