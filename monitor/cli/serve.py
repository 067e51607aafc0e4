"""`serve` and `check-config`."""

import asyncio
import gc
import signal
import socket
import sys
from pathlib import Path

import click
import uvloop

from monitor import app, config, durations, listeners, logs
from monitor.app import App
from monitor.cli import mistakes, output
from monitor.document import Mistaken
from monitor.store.protocol import StoreInUseError

FAILED, WRONG, IN_USE = 1, 2, 3
SWITCH_SECONDS = 0.001  # how long a thread may keep the interpreter: the default 5 ms shows in the gate's p99
WATCH_SECONDS = 0.2
DELAY_MOST_SECONDS = 30.0
# Records hold no cycles: the defaults (700, 10, 10) collect several times in each pipeline step, and a full collection
# with thousands of series holds the gate for 40 to 90 ms.
GC_THRESHOLDS = (20_000, 20, 100)


@click.command()
@click.option(
    "--config.file",
    "config_file",
    default="monitor.yml",
    show_default=True,
    type=click.Path(path_type=Path),
    envvar="WHATSAPP_MONITOR_CONFIG_FILE",
    help="Configuration file.",
)
@click.option(
    "--web.listen-address",
    "web_address",
    default="127.0.0.1:9368",
    show_default=True,
    envvar="WHATSAPP_MONITOR_WEB_LISTEN_ADDRESS",
    help="Internal listener: gate, API, metrics, status page.",
)
@click.option(
    "--webhook.listen-address",
    "webhook_address",
    default="0.0.0.0:8368",
    show_default=True,
    envvar="WHATSAPP_MONITOR_WEBHOOK_LISTEN_ADDRESS",
    help="Public listener: Meta's webhooks and nothing else.",
)
@click.option(
    "--web.insecure",
    "is_insecure",
    is_flag=True,
    envvar="WHATSAPP_MONITOR_WEB_INSECURE",
    help="Let the internal listener leave loopback without a token.",
)
@click.option(
    "--shutdown.delay",
    "delay",
    default="5s",
    show_default=True,
    envvar="WHATSAPP_MONITOR_SHUTDOWN_DELAY",
    help="How long SIGTERM leaves the listeners open, not ready, while balancers notice; at most 30s.",
)
@click.option(
    "--log.level",
    "log_level",
    default="info",
    show_default=True,
    type=click.Choice(logs.LEVELS),
    envvar="WHATSAPP_MONITOR_LOG_LEVEL",
    help="Least severe level to log.",
)
@click.option(
    "--log.format",
    "log_format",
    default="logfmt",
    show_default=True,
    type=click.Choice(["json", "logfmt"]),
    envvar="WHATSAPP_MONITOR_LOG_FORMAT",
    help="Form of log lines.",
)
def serve(
    config_file: Path,
    web_address: str,
    webhook_address: str,
    is_insecure: bool,
    delay: str,
    log_level: str,
    log_format: str,
) -> None:
    """Receive webhooks and serve the gate, until SIGTERM or SIGINT; SIGHUP reloads configuration and rules."""
    logs.configure(log_level, log_format)
    loaded = _loaded(config_file)
    try:
        delay_seconds = durations.parse(delay)
        if delay_seconds > DELAY_MOST_SECONDS:
            raise ValueError(f"--shutdown.delay is {DELAY_MOST_SECONDS:g} s at most")
        host, _ = listeners.split(web_address)
        if not listeners.is_loopback(host) and not loaded.tokens and not is_insecure:
            raise ValueError(
                f"{web_address} can be reached from other machines: set web.operator_tokens, or say --web.insecure"
            )
        sockets = [listeners.bind(webhook_address), listeners.bind(web_address)]
    except (ValueError, OSError) as error:
        click.echo(f"whatsapp-monitor: {error}", err=True)
        sys.exit(WRONG)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        sys.exit(uvloop.run(_serve(loaded, config_file, sockets, delay_seconds)))
    except StoreInUseError as error:
        click.echo(f"whatsapp-monitor: {error}", err=True)
        sys.exit(IN_USE)


@click.command("check-config")
@click.argument("file", default="monitor.yml", type=click.Path(path_type=Path))
@output.json_option
def check_config(file: Path, as_json: bool) -> None:
    """Check a configuration FILE and the rules that it names."""
    loaded = _loaded(file)
    rules = loaded.rule_set
    found = {"file": str(file), "rules": len(rules.rules), "hash": rules.hash, "warnings": list(loaded.warnings)}
    output.say(found, as_json, f"{file}: fine; {len(rules.rules)} rules, hash {rules.hash}")


def _loaded(file: Path) -> config.Loaded:
    try:
        loaded = config.load(file)
    except Mistaken as error:
        mistakes.end(error)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded


async def _serve(loaded: config.Loaded, file: Path, sockets: list[socket.socket], delay_seconds: float) -> int:
    parts = app.build(loaded, file)
    await parts.start()
    public, internal = listeners.server(parts.receiver), listeners.server(parts.internal)
    stopping, leaving = asyncio.Event(), asyncio.Event()
    _on_signals(parts, stopping, leaving, (public, internal))
    serving = [
        asyncio.create_task(server.serve([bound]), name=name)
        for server, bound, name in zip((public, internal), sockets, ("public", "internal"), strict=True)
    ]
    logs.get().info(
        "serving",
        webhook=_address(sockets[0]) + loaded.config.webhook.path,
        web=_address(sockets[1]),
        rules=loaded.rule_set.hash,
    )
    while not stopping.is_set() and not parts.store.writer.is_broken and not any(task.done() for task in serving):
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                await stopping.wait()
        except TimeoutError:
            continue
    is_broken = parts.store.writer.is_broken
    parts.stop()
    if leaving.is_set() and not is_broken:
        await asyncio.sleep(delay_seconds)  # a balancer goes on sending here until it has seen that we are not ready
    public.should_exit = internal.should_exit = True
    await asyncio.gather(*serving, return_exceptions=True)
    await parts.close()
    if is_broken:
        logs.get().error("store_broken", advice="restart recovers it from its log")
        return FAILED
    logs.get().info("stopped")
    return 0


def _on_signals(
    parts: App, stopping: asyncio.Event, leaving: asyncio.Event, servers: tuple[listeners.Server, ...]
) -> None:
    """Stop at SIGINT at once, at SIGTERM as somebody who is being replaced, at a second signal without finishing."""
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[object]] = set()

    def stop() -> None:
        if stopping.is_set():
            for server in servers:
                server.force_exit = True
            logs.get().warning("gave_up", reason="second_signal")
            sys.stderr.flush()
            signal.raise_signal(signal.SIGKILL)
        parts.stop()
        stopping.set()

    def reload() -> None:
        task = loop.create_task(parts.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    def leave() -> None:
        leaving.set()
        stop()

    loop.add_signal_handler(signal.SIGTERM, leave)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"{host}:{port}"
