"""Files that must not be taken: what a hand, a tool or an enemy may make of a configuration and its rules."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor import config
from monitor.document import Mistaken
from tests.harness import tier

MUTANTS = tier.of(15, 400)
RULE = "rules:\n  - {name: one, match: {code: 1}, actions: [flag]}\n"


@dataclass(frozen=True)
class Broken:
    """One broken file, and what is meant to be wrong with it."""

    name: str
    is_rules: bool
    text: bytes


def files(folder: Path, configuration: str, rules: bytes) -> list[Broken]:
    """Return what breaks a configuration that names `rules.yml`, or these rules, and is seen to do so in a folder."""
    folder.mkdir()
    found: list[Broken] = []
    for number, (name, text) in enumerate(_texts()):
        found.append(Broken(name, is_rules=True, text=b"rules: []\nx: " + text))
        if tier.IS_LONG or number % 2:
            found.append(Broken(name, is_rules=False, text=configuration.encode() + b"x: " + text))
    found += [Broken(line, is_rules=False, text=f"{configuration}{line}\n".encode()) for line in _lines()]
    found += [Broken(rule, is_rules=True, text=f"rules:\n  - {rule}\n".encode()) for rule in _rules()]
    found += [Broken(repr(text), is_rules=True, text=text) for text in _wholes()]
    chance = random.Random(1)
    mutants = (Broken("mutant", is_rules=True, text=_changed(rules, chance)) for _ in range(10 * MUTANTS))
    wrong = (one for one in mutants if _is_wrong(folder, configuration, one))
    return [*(one for one in found if _is_wrong(folder, configuration, one)), *itertools.islice(wrong, MUTANTS)]


def _texts() -> Iterator[tuple[str, bytes]]:
    """Yield what section 5.5 and years of YAML have taught, as the value of a key."""
    laughs = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    laughs += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)]
    yield "billion laughs", b"1\n" + b"\n".join(laughs)
    yield "quadratic blowup", b"&a [%s]\ny: [%s]" % (b", ".join([b"z"] * 400), b", ".join([b"*a"] * 400))
    yield "an alias of itself", b"&a [*a]"
    yield "an alias of nothing", b"*nothing"
    yield "merge keys", b"&a {b: 1}\ny: {<<: [*a, *a]}"
    for depth in (33, 10_000, 100_000):
        yield f"{depth} lists", b"[" * depth + b"]" * depth
        yield f"{depth} mappings", b"{a: " * depth
    yield "1 MB flat", b"[" + b"1, " * 350_000 + b"1]"
    yield "too many values", b"[" + b"1," * 50_001 + b"1]"
    for tag in (b"!!python/object/apply:os.system [id]", b"!!python/name:os.system", b"!!python/module:os",
                b"!!binary aGk=", b"!!set {a}", b"!!timestamp 2024-01-01", b"!include /etc/shadow", b"!ENV ${HOME}",
                b"!<tag:yaml.org,2002:int> 3", b"!!int 5"):  # fmt: skip
        yield tag.decode(), tag
    yield "a key twice", b"{a: 1, a: 2}"
    yield "tabs", b"\n\t- 1"
    yield "tabs in a mapping", b"\n  a: 1\n\tb: 2"
    yield "NUL", b"\0"
    yield "a control character", b"\x01"
    yield "DEL", b"'\x7f'"
    yield "not UTF-8", b"\xff\xfe"
    yield "an overlong form", b"\xc0\xaf"
    yield "half of a surrogate pair", b'"\\ud800"'
    yield "beyond Unicode", b'"\\UFFFFFFFF"'
    yield "an unknown escape", b'"\\q"'
    yield "no end of a quote", b'"a'
    yield "no end of a list", b"[1, 2"
    yield "a list ended as a mapping", b"[1, 2}"
    yield "two colons", b"1: 2: 3"
    yield "a key of a list", b"{? [a] : b}"
    yield "a key of a mapping", b"{{a: b}: c}"
    yield "a second document", b"1\n---\ny: 2"
    yield "a directive too late", b"1\n%YAML 1.1\n---"
    yield "an unknown directive with an endless number", b"1\n...\n%YAML 1." + b"9" * 5000 + b"\n---\n"
    yield "an unknown key", b"1"
    yield "a bad anchor", b"&"
    yield "a percent sign", b"%x"
    yield "an at sign", b"@x"
    yield "a backtick", b"`x`"


def _lines() -> Iterator[str]:
    """Yield lines that are wrong in a configuration, which has `webhook`, `store` and `rules` already."""
    for part in ("graph", "alerts", "outbound", "tracing", "web", "privacy", "messages", "campaigns", "resends",
                 "metrics", "gate"):  # fmt: skip
        yield f"{part}: 5"
        yield f"{part}: {{unknwon: 1}}"
    for part in ("forward", "codes"):
        yield f"{part}: 5"
        yield f"{part}: [{{unknwon: 1}}]"
    for duration in ("soon", "-1s", "nan", "2024-13-45", "9" * 5000, "22:22", "1e3", "no", "[1s]", "1s1s"):
        yield f"messages: {{buffer: {duration}}}"
    yield "storre: {}"
    yield "webhook: {}"
    yield "alerts: {alertmanagers: [{url: 'http://user:password@host'}]}"
    yield "alerts: {alertmanagers: [{url: 'file:///etc/shadow'}]}"
    yield "forward: [{name: App!, url: 'http://h'}]"
    yield "forward: [{name: a, url: 'http://h'}, {name: a, url: 'http://i'}]"
    yield "tracing: {sample: {failed: .nan}}"
    yield "tracing: {sample: {failed: 2}}"
    yield "campaigns: {callback_path: '$['}"
    yield "campaigns: {callback_regex: '(a)\\1'}"
    yield "campaigns: {callback_regex: '(a{1000}){1000}'}"
    yield "codes: [{code: 5, class: policy_blok}]"
    yield "metrics: {idle_after: ${NO_SUCH_VARIABLE}}"
    yield "web: {operator_tokens: [12345]}"
    yield "web: {operator_tokens_file: /nowhere}"
    yield "privacy: {keys_file: ../../nowhere}"
    yield "outbound: {deny_networks: [300.0.0.0/8]}"


def _rules() -> Iterator[str]:
    """Yield rules that are wrong."""
    made = "{{name: one, match: {match}, actions: {actions}}}"
    for match in (
        "{}", "5", "[]", "{cod: 1}", "{code: []}", "{code: {from: 1}}", "{code: {from: 9, to: 1}}", "{kind: stauts}",
        "{code: {regex: '(a'}}", "{code: {regex: '(a)\\1'}}", "{code: {regex: '(a{1000}){1000}'}}",
        "{code: {regex: '(?=a)'}}", f"{{code: {{regex: '{'a' * 600}'}}}}",
        "{code: 1}, count: {at_least: 0, within: 1m}",
        "{code: 1}, count: {at_least: .nan, within: 1m}", "{code: 1}, count: {at_least: 2, within: 10y}",
        "{code: 1}, distinct: {of: recipient, at_least: 2, within: 10y}",
        "{code: 1}, distinct: {of: recipient, at_least: nan, within: 1h}",
        "{code: 1}, ratio: {of: {status: sent}, within: 10y, minimum: 1, at_least: 0.1}",
        "{code: 1}, ratio: {of: {status: sent}, within: 1h, minimum: 1, at_least: nan}",
        "{code: 1}, increase: {times: nan, within: 1m, at_least: 1}",
        "{code: 1}, increase: {times: 2, within: 10y, at_least: 1}", "{code: 1}, absent: {for: 10y}",
        "{code: 1}, sequence: {then: {code: 2}, within: 10y}", "{code: 1}, for: 10y", "{code: 1}, cooldown: 10y",
        "{code: 1}, by: [everything]", "{code: 1}, by: recipient", "{code: 1}, mode: enforced", "{code: 1}, when: ''",
        "{code: 1}, when: '('", "{code: 1}, active_time_intervals: [nights]",
        "{code: 1}, runbook: 'javascript:alert(1)'",
        "{code: 1}, max_age: 0s", "{code: 1}, summary: 5", "{code: 1}, name: twice",
    ):  # fmt: skip
        yield made.format(match=match, actions="[flag]")
    for actions in (
        "[]", "flag", "[{flag: {}, alert: {}}]", "[{exec: {command: id}}]", "[{exec: 'rm -rf /'}]", "[{paus: {}}]",
        "[{pause: {scope: galaxy, until: resumed}}]", "[{pause: {scope: waba}}]", "[{pause: {scope: waba, for: 0s}}]",
        "[{pause: {scope: waba, for: nan}}]", "[{pause: {scope: waba, until: cleared}}]",
        "[{pause: {scope: waba, for: 1h, until: resumed}}]", "[{throttle: {scope: waba, rate: 1e9, for: 1m}}]",
        "[{throttle: {scope: waba, rate: 0/s, for: 1m}}]", "[{alert: {severity: critcal}}]", "[{alert: {most: 1001}}]",
        "[{annotate: {text: ''}}]", "[{webhook: {to: nobody}}]", "[{webhook: {to: 'http://169.254.169.254/'}}]",
        "[{resume: {scope: wabba}}]", "[{resend: {after: never}}]",
    ):  # fmt: skip
        yield made.format(match="{code: 1}", actions=actions)


def _wholes() -> Iterator[bytes]:
    """Yield what is no file of ours from its first byte on."""
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"):
        yield ("# ü\n" + RULE).encode(encoding)
    yield b"[]"
    yield b"just a text"
    yield b"17"
    yield b'{"rules": [}'
    yield b"<html><body>502 Bad Gateway</body></html>"
    yield b"<<<<<<< HEAD\n" + RULE.encode() + b"=======\nrules: []\n>>>>>>> main\n"
    yield b"\x7fELF\x02\x01\x01" + bytes(64)
    yield b"\x1f\x8b\x08\x00rules"
    yield b"rules: {{ .Values.rules }}\n"
    yield b"rules: 5"
    yield b"rules: {}"
    yield RULE.encode() + b"rules: []\n"


def _changed(rules: bytes, chance: random.Random) -> bytes:
    """Return rules with a stretch cut out, doubled, or replaced by noise."""
    at = chance.randrange(len(rules))
    until = min(len(rules), at + chance.choice([1, 3, 20]))
    noise = bytes(chance.choice(b"{}[]:,-#&*!|>'\"%@` \t\n0aZ") for _ in range(until - at))
    return rules[:at] + chance.choice([b"", rules[at:until] * 2, noise]) + rules[until:]


def _is_wrong(folder: Path, configuration: str, broken: Broken) -> bool:
    (folder / "monitor.yml").write_bytes(configuration.encode() if broken.is_rules else broken.text)
    (folder / "rules.yml").write_bytes(broken.text if broken.is_rules else RULE.encode())
    try:
        config.load(folder / "monitor.yml")
    except Mistaken:
        return True
    return False
