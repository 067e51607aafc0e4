"""System calls that fail by strace's doing: the Nth of a kind in each thread of a process, or some from there on."""

from pathlib import Path

from tests.harness import peer


def failing(call: str, error: str, when: str, database: Path, log: Path) -> tuple[str, ...]:
    """Return what to put before a program; strace traces it from aside, so that its process stays our own child.

    Calls on a database and its log are counted, not those on its folder, whose failed sync SQLite passes over.
    """
    return (
        *(peer.path("strace"), "--daemonize", "--follow-forks", "--seccomp-bpf", "-qq", "-ttt", "-o", str(log)),
        *("--trace-path", str(database), "--trace-path", f"{database}-wal"),
        *("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"),
    )


def injected(log: Path) -> list[float]:
    """Return the times at which a call was made to fail."""
    lines = log.read_text(encoding="utf-8").splitlines()
    return [float(line.split()[1]) for line in lines if line.endswith("(INJECTED)")]


def slow(call: str, seconds: float, database: Path, log: Path) -> tuple[str, ...]:
    """Return what to put before a program whose calls of a kind on a database and its log take longer by so much."""
    return (
        *(peer.path("strace"), "--daemonize", "--follow-forks", "--seccomp-bpf", "-qq", "-o", str(log)),
        *("--trace-path", str(database), "--trace-path", f"{database}-wal"),
        *("-e", f"trace={call}", "-e", f"inject={call}:delay_enter={round(1e6 * seconds)}"),
    )
