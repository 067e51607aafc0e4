"""`serve` and `check-config`."""

import asyncio
import gc
import signal
import socket
import sys
from pathlib import Path

import click
import msgspec
import uvloop

from monitor import app, config, durations, entrances, listeners, logs, pacing
from monitor.app import App
from monitor.cli import mistakes, options, output
from monitor.document import Mistaken
from monitor.sandbox import Sandbox
from monitor.store.protocol import StoreInUseError, StoreUnavailableError

FAILED, WRONG, IN_USE = 1, 2, 3
SWITCH_SECONDS = 0.001  # how long a thread may keep the interpreter: the default 5 ms shows in the gate's p99
BEGUN_AT_ONCE = 8  # webhooks, in a turn of the loop
WATCH_SECONDS = 0.2
DELAY_MOST_SECONDS = 30.0
GRACE_LEAST_SECONDS = 1.5  # for what is under way when the listeners close, however long they stayed open
ANSWER_SECONDS = 0.5  # of these: for answering what has not ended by itself
# Records hold no cycles: the defaults (700, 10, 10) collect several times in each pipeline step, and a full collection
# with thousands of series holds the gate for 40 to 90 ms.
GC_THRESHOLDS = (20_000, 20, 100)

web_file_option = click.option(
    "--web.config.file",
    "web_file",
    type=click.Path(path_type=Path),
    envvar="WHATSAPP_MONITOR_WEB_CONFIG_FILE",
    help="TLS, users and headers of the internal listener, as Prometheus writes them.",
)
webhook_file_option = click.option(
    "--webhook.config.file",
    "webhook_file",
    type=click.Path(path_type=Path),
    envvar="WHATSAPP_MONITOR_WEBHOOK_CONFIG_FILE",
    help="TLS and headers of the public listener, in the same format.",
)


@click.command()
@options.config_file("Configuration file.")
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
@web_file_option
@webhook_file_option
@click.option(
    "--web.insecure",
    "is_insecure",
    is_flag=True,
    envvar="WHATSAPP_MONITOR_WEB_INSECURE",
    help="Let the internal listener leave loopback with nobody asked who they are.",
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
    web_file: Path | None,
    webhook_file: Path | None,
    is_insecure: bool,
    delay: str,
    log_level: str,
    log_format: str,
) -> None:
    """Receive webhooks and serve the gate, until SIGTERM or SIGINT; SIGHUP reloads configuration and rules."""
    logs.configure(log_level, log_format)
    loaded = _loaded(config_file, web_file, webhook_file)
    try:
        delay_seconds = durations.parse(delay)
        if delay_seconds > DELAY_MOST_SECONDS:
            raise ValueError(f"--shutdown.delay is {DELAY_MOST_SECONDS:g} s at most")
        host, _ = listeners.split(web_address)
        loaded = msgspec.structs.replace(loaded, must_be_closed=not listeners.is_loopback(host) and not is_insecure)
        if loaded.must_be_closed and not loaded.is_closed:
            raise ValueError(
                f"{web_address} can be reached from other machines: set web.operator_tokens, or users or client "
                "certificates in --web.config.file, or say --web.insecure"
            )
        sockets = [_bound("--webhook.listen-address", webhook_address), _bound("--web.listen-address", web_address)]
    except ValueError as error:
        click.echo(f"whatsapp-monitor: {error}", err=True)
        sys.exit(WRONG)
    listeners.raise_files()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        sys.exit(uvloop.run(_serve(loaded, config_file, sockets, delay_seconds)))
    except StoreInUseError as error:
        click.echo(f"whatsapp-monitor: {error}", err=True)
        sys.exit(IN_USE)
    except StoreUnavailableError as error:  # while it started: what runs answers 503 instead
        click.echo(f"whatsapp-monitor: {loaded.store_path} can't be used: {error}", err=True)
        sys.exit(IN_USE)


@click.command("check-config")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@options.config_file("Configuration file, where no FILE is given.")
@web_file_option
@webhook_file_option
@output.json_option
def check_config(
    file: Path | None, config_file: Path, web_file: Path | None, webhook_file: Path | None, as_json: bool
) -> None:
    """Check a configuration FILE and the rules that it names."""
    file = file or config_file
    loaded = _loaded(file, web_file, webhook_file)
    rules = loaded.rule_set
    found = {"file": str(file), "rules": len(rules.rules), "hash": rules.hash, "warnings": list(loaded.warnings)}
    output.say(found, as_json, f"{file}: fine; {len(rules.rules)} rules, hash {rules.hash}")


def _loaded(file: Path, web_file: Path | None, webhook_file: Path | None) -> config.Loaded:
    try:
        with Sandbox() as sandbox:
            loaded = config.load(file, web_path=web_file, webhook_path=webhook_file, reader=sandbox.read)
    except Mistaken as error:
        mistakes.end(error)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded


def _bound(option: str, address: str) -> socket.socket:
    try:
        return listeners.bind(address)
    except OSError as error:
        raise ValueError(f"{option} {address}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


async def _serve(loaded: config.Loaded, file: Path, sockets: list[socket.socket], delay_seconds: float) -> int:
    asyncio.get_running_loop().set_exception_handler(logs.unhandled)
    try:
        parts = app.build(loaded, file)
    except (ValueError, OSError) as error:  # what has changed since it was read
        click.echo(f"whatsapp-monitor: {error}", err=True)
        return WRONG
    refused = parts.metrics.connections_refused
    receiving = pacing.paced(parts.receiver, BEGUN_AT_ONCE)
    public = entrances.server(
        receiving, lambda: parts.loaded.webhook, lambda reason: refused.of("public", reason).inc()
    )
    internal = entrances.server(
        parts.internal, lambda: parts.loaded.web, lambda reason: refused.of("internal", reason).inc()
    )
    # The gate answers by `gate.on_error` until what stands is loaded; who delivers waits for that.
    sockets[0].listen(listeners.BACKLOG)
    serving = [asyncio.create_task(internal.serve([sockets[1]]), name="internal")]
    await parts.start()
    stopping, leaving = asyncio.Event(), asyncio.Event()
    _on_signals(parts, stopping, leaving, (public, internal))
    serving.append(asyncio.create_task(public.serve([sockets[0]]), name="public"))
    renewing = [
        asyncio.create_task(entrances.renew(public, lambda: parts.loaded.webhook)),
        asyncio.create_task(entrances.renew(internal, lambda: parts.loaded.web)),
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
    for task in renewing:
        task.cancel()
    parts.stop()
    open_seconds = delay_seconds if leaving.is_set() and not is_broken else 0.0
    await asyncio.sleep(open_seconds)  # a balancer goes on sending here until it has seen that we are not ready
    grace_seconds = max(GRACE_LEAST_SECONDS, listeners.GRACEFUL_SECONDS - open_seconds)
    parts.deadlines.leave(grace_seconds - ANSWER_SECONDS)
    for server in (public, internal):
        server.leave(grace_seconds)
    await asyncio.gather(*serving, return_exceptions=True)
    await parts.close(open_seconds)
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
        if len(reloads) > 1:  # one is under way, and one that waits will see whatever has changed by now
            return
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
