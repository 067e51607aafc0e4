"""The container image is really built and really run: read-only, without privileges, and taking a signed webhook.

No container engine is needed. debootstrap makes the base from the machine's own Debian mirror, buildah builds the
Dockerfile on it in a chroot, and the container is that image's root file system in namespaces of its own: mounted
read-only but for /data, on a network of its own (so that ports are always free), as the image's user, without
capabilities. Everything that mounts or forks does so inside namespaces that end with it, so that nothing stays behind.
"""

import ast
import configparser
import hashlib
import hmac
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import monitor

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = ("apt-config", "apt-get", "buildah", "chroot", "debootstrap", "ip", "mount", "nsenter", "setpriv", "unshare")
TOOL_ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"}
# Namespaces that end with this process, even if it is killed, and take everything in them along.
ALONE = ("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
PIP_SETTINGS_PASSED_ON = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "retries")

SECRETS = {"META_APP_SECRET": "a-secret-for-the-image-test", "META_VERIFY_TOKEN": "a-token-for-the-image-test"}
UP_SECONDS = 60
STOP_SECONDS = 20

# What an engine does for `--read-only --cap-drop ALL --security-opt no-new-privileges --user …`.
CONTAINER = """
set -eu
root=$1 data=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$data" "$root/data"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
ip link set lo up
exec chroot "$root" "$@"
"""
FETCH = """
import http.client, json, sys
method, port, path, headers, body = json.loads(sys.argv[1])
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
connection.request(method, path, body, headers)
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""
WRITE_EVERYWHERE = """
import os
for folder, _, _ in os.walk("/"):
    if folder.startswith(("/proc", "/sys", "/dev")):
        continue
    path = os.path.join(folder, "written")
    try:
        open(path, "x").close()
    except OSError:
        continue
    print(path)
    os.unlink(path)
"""


@dataclass(frozen=True)
class Image:
    """A built image: its unpacked root file system, its configuration, and a folder for a test's own files."""

    root: Path
    config: Mapping[str, Any]
    folder: Path

    @property
    def command(self) -> list[str]:
        """What runs when nothing else is said."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    @property
    def health_check(self) -> list[str]:
        """The HEALTHCHECK's command, without a shell."""
        command: list[str]
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return command

    def as_user(self, command: Sequence[str], extra: Mapping[str, str]) -> list[str]:
        """Return the command line that runs `command` as the image says, once its root file system is entered."""
        user, _, group = self.config["User"].partition(":")
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in extra.items())]
        return [
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
            *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
            "--pdeathsig=KILL",  # once more: the kernel forgets it when the user changes
            *("env", "--ignore-environment", f"--chdir={self.config['WorkingDir']}", *variables),
            *command,
        ]


@dataclass(frozen=True)
class Container:
    """A running image: `process` made its namespaces and returns the exit code of the first process inside."""

    image: Image
    data: Path
    process: subprocess.Popen[bytes]
    log: Path

    @cached_property
    def pid(self) -> int:
        """The number, outside, of the process that is number 1 inside, once it has entered the image's root."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + UP_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            pids = children.read_text().split()
            if pids and Path(f"/proc/{pids[0]}/root").resolve() != Path("/"):
                return int(pids[0])
            time.sleep(0.02)
        raise AssertionError(f"the container did not start, exit code {self.process.poll()}:\n{self.log.read_text()}")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one more command in the container, as `docker exec` does."""
        enter = ("nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root", "--wd")
        return execute(*enter, *self.image.as_user(command, SECRETS), seconds=60)

    def fetch(
        self, port: int, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: str = ""
    ) -> tuple[int, str]:
        """Ask one of the container's ports from inside, and return the status and the text of the answer."""
        request = json.dumps([method, port, path, dict(headers or {}), body])
        asked = self.run("python3", "-c", FETCH, request)
        assert asked.returncode == 0, f"{asked.stderr}\n{self.log.read_text()}"
        status, text = json.loads(asked.stdout)
        return status, text

    def wait_until_healthy(self) -> None:
        """Return when the image's own HEALTHCHECK passes."""
        deadline = time.monotonic() + UP_SECONDS
        while self.run(*self.image.health_check).returncode != 0:
            assert self.process.poll() is None, f"the container ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"not healthy in {UP_SECONDS} seconds:\n{self.log.read_text()}"
            time.sleep(0.2)

    def terminate(self) -> int:
        """Send SIGTERM to the first process, as `docker stop` does, and return the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if reason := why_no_image_can_be_built():
        if os.environ.get("CI"):
            pytest.fail(f"the image must be tested here: {reason}")
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="whatsapp-monitor-image-"))
    try:
        make_base(folder)
        yield build(folder)
    finally:
        # Nothing is mounted in here by now; should a mount have stayed after all, it is not followed.
        execute("rm", "-rf", "--one-file-system", str(folder), seconds=120)


@pytest.fixture(scope="module")
def container(image: Image) -> Iterator[Container]:
    with started(image, "shared", image.command) as container:
        container.wait_until_healthy()
        yield container


def test_the_image_says_how_it_wants_to_be_run(image: Image) -> None:
    config = image.config

    user = re.fullmatch(r"(\d+):(\d+)", config["User"])

    assert user
    assert "0" not in user.groups()
    assert set(config["Volumes"]) == {"/data"}
    assert set(config["ExposedPorts"]) == {"8368/tcp", "9368/tcp"}
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert not [variable for variable in config["Env"] if variable.startswith(tuple(SECRETS))]


def test_the_image_holds_no_installer_no_pth_file_and_nothing_of_the_build(image: Image) -> None:
    python = next(image.root.glob("opt/venv/lib/python3.*/site-packages"))
    configuration = image.root / "etc/whatsapp-monitor"

    installed = {path.name for path in python.iterdir()}
    configured = {str(path.relative_to(configuration)) for path in configuration.rglob("*") if path.is_file()}

    assert "monitor" in installed
    assert not installed & {"pip", "setuptools", "wheel"}
    assert not [name for name in installed if name.endswith((".pth", ".egg-link"))]
    assert {"monitor.yml", "rules/monitor/core.yml"} <= configured
    assert not [name for name in configured if name.endswith("_test.yml")]
    assert not (image.root / "build").exists()
    assert not list(image.root.glob("run/secrets/*"))


def test_only_the_data_folder_belongs_to_the_images_user(image: Image) -> None:
    user = int(image.config["User"].partition(":")[0])

    status = {
        path: path.lstat() for place in ("opt", "etc/whatsapp-monitor") for path in image.root.glob(f"{place}/**/*")
    }
    foreign = [path for path, entry in status.items() if entry.st_uid != 0]
    loose = [path for path, entry in status.items() if not path.is_symlink() and entry.st_mode & 0o022]
    hidden = [path for path, entry in status.items() if not path.is_symlink() and not entry.st_mode & 0o004]

    assert len(status) > 1000
    assert (foreign, loose, hidden) == ([], [], [])
    assert (image.root / "data").stat().st_uid == user


def test_a_running_container_is_healthy_by_its_own_health_check(container: Container) -> None:
    checked = container.run(*container.image.health_check)

    status, _ = container.fetch(9368, "/-/healthy")

    assert checked.returncode == 0, checked.stderr
    assert status == 200


def test_a_container_where_nothing_serves_fails_its_health_check(image: Image) -> None:
    with started(image, "idle", ["python3", "-c", "import time; time.sleep(60)"]) as idle:
        checked = idle.run(*image.health_check)

    assert checked.returncode == 1
    assert "ConnectionRefusedError" in checked.stderr


def test_the_container_runs_without_root_and_without_capabilities(container: Container) -> None:
    user, _, group = container.image.config["User"].partition(":")

    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}

    assert status["Uid"] == [user] * 4
    assert status["Gid"] == [group] * 4
    assert status["Groups"] == []
    assert int(status["CapEff"][0], 16) == 0
    assert status["NoNewPrivs"] == ["1"]


def test_nothing_but_the_data_volume_can_be_written(container: Container) -> None:
    written = container.run("python3", "-c", WRITE_EVERYWHERE)

    assert written.returncode == 0, written.stderr
    assert written.stdout.split() == ["/data/written"]


def test_a_signed_webhook_is_accepted_and_kept_on_the_volume(container: Container) -> None:
    body = json.dumps({"object": "whatsapp_business_account", "entry": []})
    signature = hmac.new(SECRETS["META_APP_SECRET"].encode(), body.encode(), hashlib.sha256).hexdigest()
    json_type = {"Content-Type": "application/json"}
    subscribe = f"/webhook?hub.mode=subscribe&hub.verify_token={SECRETS['META_VERIFY_TOKEN']}&hub.challenge=1158201444"

    verified = container.fetch(8368, subscribe)
    signed, _ = container.fetch(
        8368, "/webhook", method="POST", body=body, headers={**json_type, "X-Hub-Signature-256": f"sha256={signature}"}
    )
    unsigned, _ = container.fetch(8368, "/webhook", method="POST", body=body, headers=json_type)

    assert verified == (200, "1158201444")
    assert (signed, unsigned) == (200, 401)
    assert (container.data / "monitor.db").stat().st_uid == int(container.image.config["User"].partition(":")[0])


def test_the_installed_command_works_as_in_the_documents(container: Container) -> None:
    command = container.run("whatsapp-monitor", "version")

    module = container.run("python3", "-m", "monitor", "version")

    assert command.returncode == 0, command.stderr
    assert monitor.__version__ in command.stdout
    assert module.stdout == command.stdout


def test_sigterm_ends_the_container_with_exit_code_0(image: Image) -> None:
    with started(image, "stopped", image.command) as container:
        container.wait_until_healthy()

        exit_code = container.terminate()

    assert exit_code == 0, container.log.read_text()


def test_a_pause_placed_with_the_command_outlives_its_container(image: Image) -> None:
    place = ("whatsapp-monitor", "pauses", "add", "--scope=all", "--actor=operator", "--reason=tried by a test")

    with started(image, "paused", image.command) as first:
        first.wait_until_healthy()
        before, _ = first.fetch(9368, "/v1/gate?phone_number_id=106540352242922")
        placed = first.run(*place)
        first.terminate()
    with started(image, "paused", image.command) as second:
        second.wait_until_healthy()
        after, verdict = second.fetch(9368, "/v1/gate?phone_number_id=106540352242922")

    assert placed.returncode == 0, placed.stderr
    assert (before, after) == (200, 403)
    assert "tried by a test" in verdict


def test_without_its_secrets_the_container_refuses_to_start_and_names_them(image: Image) -> None:
    with started(image, "secretless", image.command, variables={}) as container:
        exit_code = container.process.wait(timeout=UP_SECONDS)

    log = container.log.read_text()
    assert exit_code == 2, log
    assert "META_APP_SECRET" in log
    assert "META_VERIFY_TOKEN" in log


def test_the_internal_listener_leaves_loopback_only_with_a_token(image: Image) -> None:
    wider = {**SECRETS, "WHATSAPP_MONITOR_WEB_LISTEN_ADDRESS": "0.0.0.0:9368"}
    with_token = {**wider, "OPERATOR_TOKEN": "7c1f0e5d", "WHATSAPP_MONITOR_CONFIG_FILE": "/data/monitor.yml"}
    own = (REPOSITORY / "deploy/monitor.yml").read_text() + 'web:\n  operator_tokens: ["${OPERATOR_TOKEN}"]\n'
    volume = image.folder / "exposed-data"
    volume.mkdir()
    (volume / "monitor.yml").write_text(own.replace("rules/monitor/", "/etc/whatsapp-monitor/rules/monitor/"))

    with started(image, "refused", image.command, variables=wider) as container:
        refused = container.process.wait(timeout=UP_SECONDS)
    with started(image, "exposed", image.command, variables=with_token) as container:
        container.wait_until_healthy()
        without, _ = container.fetch(9368, "/metrics")
        granted, _ = container.fetch(9368, "/metrics", headers={"Authorization": "Bearer 7c1f0e5d"})

    assert refused == 2
    assert (without, granted) == (401, 200)


def why_no_image_can_be_built() -> str | None:
    """Return what this machine lacks, or None."""
    if os.geteuid() != 0:
        return "building and running the image needs root"
    if missing := [tool for tool in TOOLS if shutil.which(tool, path=TOOL_ENVIRONMENT["PATH"]) is None]:
        return f"building and running the image needs {', '.join(missing)}"
    if execute(*ALONE, "true", seconds=30).returncode != 0:
        return "root may not make namespaces here"
    return None


def make_base(folder: Path) -> None:
    """Make localhost/base from nothing: the machine's own Debian release, Python and CA certificates."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    sources = must("apt-get", "update", "--print-uris", seconds=60)
    mirror = re.search(rf"^'(.+)/dists/{re.escape(release)}/InRelease'", sources, re.MULTILINE)
    assert mirror, f"apt has no source for {release}:\n{sources}"
    proxy = must("apt-config", "--format", "%v", "dump", "Acquire::http::Proxy", seconds=30).strip()
    debootstrap = ("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates")
    base = str(folder / "base")

    must(*ALONE, "--mount-proc", *debootstrap, release, base, mirror[1], seconds=400, http_proxy=proxy)
    scratch = buildah(folder, "from", "scratch").strip()
    buildah(folder, "add", "--quiet", scratch, base, "/")
    buildah(folder, "commit", "--quiet", "--rm", scratch, "localhost/base")
    execute("rm", "-rf", "--one-file-system", base, seconds=120)


def build(folder: Path) -> Image:
    """Build the repository's Dockerfile on localhost/base, and unpack the image."""
    build_command = (
        "build",
        "--isolation=chroot",
        "--format=docker",
        "--pull-never",
        "--build-arg=BASE=localhost/base",
    )

    buildah(folder, *build_command, *pip_secrets(folder), "--tag=localhost/monitor", str(REPOSITORY), seconds=400)
    described = json.loads(buildah(folder, "inspect", "--type=image", "localhost/monitor"))
    unpacked = buildah(folder, "from", "--pull-never", "localhost/monitor").strip()
    root = buildah(folder, "mount", unpacked).strip()
    return Image(root=Path(root), config=described["Docker"]["config"], folder=folder)


def pip_secrets(folder: Path) -> list[str]:
    """Return the build's secrets by which pip finds the index, the proxy and the CA certificates of this machine."""
    listed = execute(sys.executable, "-m", "pip", "config", "list", seconds=60).stdout
    found = [re.fullmatch(r"(?:global|install|:env:)\.([a-z-]+)=(.+)", line) for line in listed.splitlines()]
    settings: dict[str, str] = {match[1]: str(ast.literal_eval(match[2])) for match in found if match}
    secrets = [f"--secret=id=pip_config,src={folder / 'pip.conf'}"]
    passed_on = {name: value for name, value in settings.items() if name in PIP_SETTINGS_PASSED_ON}
    if certificates := settings.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE"):
        passed_on["cert"] = "/run/secrets/pip_certificates"
        secrets.append(f"--secret=id=pip_certificates,src={certificates}")

    config = configparser.RawConfigParser()
    config["global"] = passed_on
    with (folder / "pip.conf").open("w") as file:
        config.write(file)
    return secrets


@contextmanager
def started(
    image: Image, name: str, command: Sequence[str], variables: Mapping[str, str] = SECRETS
) -> Iterator[Container]:
    """Run the image with the volume of that name, new and empty at first; on leaving, end all of its processes."""
    data, log = image.folder / f"{name}-data", image.folder / f"{name}.log"
    data.mkdir(exist_ok=True)
    owner = image.root.joinpath("data").stat()
    os.chown(data, owner.st_uid, owner.st_gid)
    inside = image.as_user(command, variables)
    launch = [
        *ALONE,
        "--net",
        "--ipc",
        "--uts",
        "sh",
        "-c",
        CONTAINER,
        "container",
        str(image.root),
        str(data),
        *inside,
    ]
    with (
        log.open("ab") as output,
        subprocess.Popen(
            launch, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=TOOL_ENVIRONMENT
        ) as process,
    ):
        try:
            yield Container(image=image, data=data, process=process, log=log)
        finally:
            process.kill()


def buildah(folder: Path, *arguments: str, seconds: float = 120) -> str:
    """Run buildah on a store of the test's own."""
    store = ("--storage-driver=vfs", f"--root={folder / 'store'}", f"--runroot={folder / 'run'}")
    return must(*ALONE, "--mount-proc", "buildah", *store, *arguments, seconds=seconds, TMPDIR=str(folder))


def must(*command: str, seconds: float, **variables: str) -> str:
    """Run a command that has to succeed, and return what it printed."""
    done = execute(*command, seconds=seconds, **variables)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def execute(*command: str, seconds: float, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; empty variables are left out of its environment."""
    environment = TOOL_ENVIRONMENT | {name: value for name, value in variables.items() if value}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, env=environment
    )
