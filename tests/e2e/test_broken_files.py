"""Files that can't be taken, at a process that runs: the last good ones stay in force, and the next good ones come."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.harness import asker, broken, meta, patience, series, tier
from tests.harness.meta import NUMBER
from tests.harness.sidecar import APP_SECRET, CORE_RULES, VERIFY_TOKEN, Sidecar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(tier.of(400, 3000))]

FEWEST = 200
OTHER_WABA, OTHER_NUMBER = "100000000000002", "200000000000002"
THIRD_WABA, THIRD_NUMBER = "100000000000003", "200000000000003"
SUCCESSFUL = "whatsapp_monitor_config_last_reload_successful"
CONFIGURATION = (
    f"webhook: {{app_secrets: [{APP_SECRET}], verify_tokens: [{VERIFY_TOKEN}]}}\n"
    "store: {url: sqlite:///monitor.db}\nrules: {files: [rules.yml]}\n"
)
GOOD = "  - {name: NAME, match: {code: CODE}, actions: [{pause: {scope: waba, until: resumed}}]}\n"
FIRST = "rules:\n" + GOOD.replace("NAME", "first").replace("CODE", "368")
BOTH = FIRST + GOOD.replace("NAME", "second").replace("CODE", "80007")
PLACED = re.compile(r"(?:\S+/)?(?:monitor|rules)\.yml:[0-9]+:[0-9]+: ")
TOO_LONG = re.compile(r"\S+: more than 524288 bytes")  # of which no place is the wrong one
INCLUDED = ("/etc/shadow", "/proc/self/environ", "/dev/zero", "/dev/stdin", "http://127.0.0.1/r.yml", "../*/nothing")


def gauge(sidecar: Sidecar) -> float:
    """Return what is said of the last reload; it may be a second old."""
    return series.read(sidecar.get(f"/metrics?name[]={SUCCESSFUL}").body.decode()).sum(SUCCESSFUL)


def pausing(sidecar: Sidecar) -> list[str]:
    """Return the rules whose pauses stand, the newest first."""
    return [pause["rule"] for pause in sidecar.get("/v1/pauses").json()["pauses"]]


def written(sidecar: Sidecar, configuration: bytes, rules: bytes) -> None:
    sidecar.config_file.write_bytes(configuration)
    (sidecar.directory / "rules.yml").write_bytes(rules)


def test_two_hundred_broken_files_change_nothing_and_each_is_told_with_its_place(tmp_path: Path) -> None:
    good = CONFIGURATION.encode(), FIRST.encode()
    corpus = broken.files(tmp_path / "looked-at", CONFIGURATION, CORE_RULES.read_bytes())
    includes = [CONFIGURATION.replace("rules.yml", f"'{name}'").encode() for name in INCLUDED]
    corpus += [broken.Broken("include", is_rules=False, text=text) for text in includes]
    (tmp_path / "run").mkdir()
    with Sidecar(tmp_path / "run") as sidecar, meta.of(sidecar) as sender:
        written(sidecar, *good)
        sidecar.start()
        assert sender.error(368).status == 200
        patience.until(lambda: sidecar.get(f"/v1/gate/{NUMBER}").status == 403)
        told: list[str] = []
        seconds: list[float] = []
        with asker.asking(sidecar.web_port, f"/v1/gate/{NUMBER}", tmp_path / "asked"):
            for number, one in enumerate(corpus):
                written(sidecar, good[0] if one.is_rules else one.text, one.text if one.is_rules else good[1])
                begun = time.monotonic()
                answer = sidecar.reload()
                seconds.append(time.monotonic() - begun)
                said = answer.body.decode()
                assert answer.status == 500, f"{one.name[:80]}: {said[:200]}"
                assert PLACED.search(said) or TOO_LONG.search(said), f"{one.name[:80]}: {said[:200]}"
                if number % 10 == 0:
                    patience.until(lambda: gauge(sidecar) == 0)
                told.append(said)
        assert sender.error(368, number=OTHER_NUMBER, waba_id=OTHER_WABA).status == 200
        patience.until(lambda: pausing(sidecar) == ["first", "first"])  # the old rules go on, and not only their pause

        written(sidecar, CONFIGURATION.encode(), BOTH.encode())
        assert sidecar.reload().status == 200
        patience.until(lambda: gauge(sidecar) == 1)
        assert sender.error(80007, number=THIRD_NUMBER, waba_id=THIRD_WABA).status == 200
        patience.until(lambda: pausing(sidecar) == ["second", "first", "first"])
        log = sidecar.log

    answers = asker.read(tmp_path / "asked")
    figures = f"p99 {asker.p99(answers) * 1000:.1f} ms, at most {max(one.seconds for one in answers) * 1000:.1f} ms"
    print(f"\n{len(told)} files in {sum(seconds):.1f} s; the gate, {len(answers)} times: {figures}")  # noqa: T201 (the figure)
    assert len(told) >= FEWEST
    assert len(answers) > 10 * sum(seconds)
    assert {one.status for one in answers} == {403}
    assert "Traceback" not in log
    assert "root:" not in "".join(told) + log  # what was included by mistake is not shown


def test_the_files_of_a_configmap_are_taken_as_they_are_swapped_and_the_last_good_ones_kept(tmp_path: Path) -> None:
    """As Kubernetes does it: each file is a link into `..data`, which is a link that is replaced."""

    def swap(name: str, configuration: bytes, rules: bytes | None) -> None:
        (folder / name).mkdir()
        (folder / name / "monitor.yml").write_bytes(configuration)
        if rules is not None:
            (folder / name / "rules.yml").write_bytes(rules)
        (folder / "..data_tmp").symlink_to(name)
        (folder / "..data_tmp").rename(folder / "..data")

    folder = tmp_path / "mounted"
    folder.mkdir()
    configuration = CONFIGURATION.replace("sqlite:///", f"sqlite:///{tmp_path}/").encode()
    swap("..2026_1", configuration, FIRST.encode())
    for name in ("monitor.yml", "rules.yml"):
        (folder / name).symlink_to(f"..data/{name}")
    with Sidecar(tmp_path) as sidecar, meta.of(sidecar) as sender:
        sidecar.config_file = folder / "monitor.yml"
        sidecar.start()

        for number, (broken_configuration, broken_rules) in enumerate(
            [
                (configuration[:90], FIRST.encode()),  # half-written
                (b"", FIRST.encode()),
                (configuration, BOTH.encode()[:-20]),
                (configuration, b""),
                (configuration, None),
            ]
        ):
            swap(f"..broken_{number}", broken_configuration, broken_rules)
            assert sidecar.reload().status == 500
            patience.until(lambda: gauge(sidecar) == 0)
        assert sender.error(368).status == 200
        patience.until(lambda: pausing(sidecar) == ["first"])

        swap("..2026_2", configuration, BOTH.encode())
        assert sidecar.reload().status == 200
        patience.until(lambda: gauge(sidecar) == 1)
        assert sender.error(80007, number=OTHER_NUMBER, waba_id=OTHER_WABA).status == 200
        patience.until(lambda: pausing(sidecar) == ["second", "first"])

        (folder / "..data").unlink()  # the whole mount goes
        assert sidecar.reload().status == 500
        patience.until(lambda: gauge(sidecar) == 0)
        assert pausing(sidecar) == ["second", "first"]


def test_a_file_that_is_replaced_all_the_while_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """Whoever writes a new file and renames it is never read half; the control is one that writes in place."""
    with Sidecar(tmp_path) as sidecar:
        written(sidecar, CONFIGURATION.encode(), BOTH.encode())
        sidecar.start()
        rules = sidecar.directory / "rules.yml"
        statuses: list[int] = []
        for _ in range(10):
            (tmp_path / "new").write_bytes(BOTH.encode())
            (tmp_path / "new").rename(rules)
            statuses.append(sidecar.reload().status)
        with rules.open("wb") as file:
            file.write(BOTH.encode()[:-30])
            file.flush()
            os.fsync(file.fileno())
            half = sidecar.reload().status
            file.write(BOTH.encode()[-30:])

        assert statuses == [200] * 10
        assert half == 500
        assert sidecar.reload().status == 200


def test_who_is_asked_to_stop_does_not_read_to_the_end(tmp_path: Path) -> None:
    with Sidecar(tmp_path) as sidecar:
        written(sidecar, CONFIGURATION.encode(), FIRST.encode())
        sidecar.start()
        long = FIRST + "".join(GOOD.replace("NAME", f"r{code}").replace("CODE", str(code)) for code in range(5000))
        (sidecar.directory / "rules.yml").write_text(long)  # takes seconds to read

        sidecar.signal(signal.SIGHUP)
        time.sleep(0.5)

        assert sidecar.terminate() == 0
        assert "its reader was ended by a signal: Killed" in sidecar.log
