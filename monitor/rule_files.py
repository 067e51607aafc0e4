"""Rules files: YAML text in layers to rules, or every mistake with its place."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from monitor import document, intervals, rule_checks, validation
from monitor.document import Document, Mistake, Mistaken, Reader
from monitor.grammar import ConditionSpec, RulesFile, RuleSpec
from monitor.intervals import Interval
from monitor.rules import (
    Absent,
    Between,
    Change,
    Condition,
    Count,
    Each,
    Increase,
    Kind,
    Like,
    Matcher,
    OneOf,
    Ratio,
    Rule,
    RuleSet,
    Test,
    Tests,
)
from monitor.rules import Sequence as SequenceOf
from monitor.vocabulary import RangeSpec, RegexSpec, Scalar

CLEAR = "/clear"  # marks the id of a rule's clear condition
_Places = dict[tuple[str | int, ...], tuple[int, int]]
_Named = Mapping[str, tuple[Interval, ...]]


class Read(msgspec.Struct, frozen=True):
    """The rules of some files, and what is probably not meant though it can be read."""

    rule_set: RuleSet
    warnings: tuple[Mistake, ...]


class _Layer(msgspec.Struct, frozen=True):
    """A rule, or what a later file says otherwise of it, with its places as if it stood alone."""

    read: Document
    number: int
    value: dict[str, Any]
    places: _Places


def load(files: Iterable[tuple[str, bytes]], reader: Reader = document.read) -> RuleSet:
    """Read rule files given as name and text; raise Mistaken with every mistake of all of them."""
    return read(files, reader).rule_set


def read(files: Iterable[tuple[str, bytes]], reader: Reader = document.read) -> Read:
    """Read rule files given as name and text, with warnings; raise Mistaken with every mistake of all of them."""
    mistakes: list[Mistake] = []
    documents: list[tuple[Document, RulesFile]] = []
    digest = hashlib.sha256()
    for file, text in files:
        digest.update(text)
        digest.update(b"\0")
        try:
            found = reader(text, file)
            documents.append((found, validation.validated(RulesFile, found)))
        except Mistaken as error:
            mistakes.extend(error.mistakes)
    named = _intervals(documents, mistakes)
    layers = _layers(documents, mistakes)
    overridden = _overridden(documents, layers, mistakes)
    rules: list[Rule] = []
    for name, layer in layers.items():
        try:
            rule = _made(layer, overridden.get(name, ()), named, mistakes)
        except Mistaken as error:
            mistakes.extend(error.mistakes)
            continue
        if rule is not None:
            rules.append(rule)
            mistakes.extend(rule_checks.mistakes(rule))
    if mistakes:
        raise Mistaken(mistakes)
    rule_set = RuleSet(tuple(rules), digest.hexdigest()[:12])
    return Read(rule_set, tuple(rule_checks.warnings(rule_set)))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a rules file, for editors."""
    schema = RulesFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "WhatsApp monitor rules", **schema}


def _intervals(documents: Sequence[tuple[Document, RulesFile]], mistakes: list[Mistake]) -> _Named:
    named: dict[str, tuple[Interval, ...]] = {}
    for found, file in documents:
        for number, spec in enumerate(file.time_intervals):
            if spec.name in named:
                path = ("time_intervals", number, "name")
                mistakes.append(found.mistake(path, f"a time interval named {spec.name} stands already"))
            named[spec.name] = tuple(intervals.compiled(one) for one in spec.time_intervals)
    return named


def _layers(documents: Sequence[tuple[Document, RulesFile]], mistakes: list[Mistake]) -> dict[str, _Layer]:
    layers: dict[str, _Layer] = {}
    for found, file in documents:
        apart = _apart(found, "rules")
        for number, spec in enumerate(file.rules):
            known = layers.get(spec.name)
            if known is not None:
                where = f"{known.read.file}:{known.read.places['rules', known.number][0]}"
                told = f"a rule named {spec.name} stands already at {where}; say what is different under `override:`"
                mistakes.append(found.mistake(("rules", number), told))
            else:
                layers[spec.name] = _Layer(found, number, found.value["rules"][number], apart[number])
    return layers


def _overridden(
    documents: Sequence[tuple[Document, RulesFile]], layers: Mapping[str, _Layer], mistakes: list[Mistake]
) -> dict[str, list[_Layer]]:
    overridden: dict[str, list[_Layer]] = {}
    for found, file in documents:
        apart = _apart(found, "override") if file.override else {}
        for number in range(len(file.override)):
            name = str(found.value["override"][number]["name"])
            if name not in layers:
                known = sorted(layers) if len(mistakes) < validation.MISTAKES_MOST else ()
                told = validation.with_guess(f"no rule is named {name}", name, known)
                mistakes.append(found.mistake(("override", number, "name"), told))
                continue
            layer = _Layer(found, number, found.value["override"][number], apart[number])
            overridden.setdefault(name, []).append(layer)
    return overridden


def _apart(found: Document, part: str) -> dict[str | int, _Places]:
    """Return the places of each item of one of the document's lists, as if it were the only rule."""
    apart: dict[str | int, _Places] = {}
    for place, at in found.places.items():
        if len(place) > 1 and place[0] == part:
            apart.setdefault(place[1], {})["rules", 0, *place[2:]] = at
    return apart


def _made(layer: _Layer, others: Sequence[_Layer], named: _Named, mistakes: list[Mistake]) -> Rule | None:
    """Return the rule as all layers together have it, None where it is off."""
    read_, value = layer.read, layer.value
    path: tuple[str | int, ...] = ("rules", layer.number)
    places = layer.places
    for other in others:
        value = {key: inner for key, inner in {**value, **other.value}.items() if inner is not None}
        read_, path, places = other.read, ("override", other.number), other.places
    # What is wrong with the whole is told where it was made so.
    file: RulesFile = validation.validated(RulesFile, Document(read_.file, {"rules": [value]}, places))
    spec = file.rules[0]
    for key in ("active_time_intervals", "mute_time_intervals"):
        for number, interval in enumerate(getattr(spec, key)):
            if interval not in named:
                told = validation.with_guess(f"no time interval is named {interval}", interval, sorted(named))
                mistakes.append(read_.mistake((*path, key, number), told))
                return None
    line, column = read_.places[path]
    return None if spec.mode == "off" else _rule(spec, named, f"{read_.file}:{line}:{column}")


def _rule(spec: RuleSpec, named: _Named, place: str) -> Rule:
    return Rule(
        name=spec.name,
        summary=spec.summary or spec.name,
        mode=spec.mode,
        condition=_condition(spec, spec.name),
        clear=None if spec.clear is None else _condition(spec.clear, f"{spec.name}{CLEAR}"),
        by=tuple(spec.by),
        for_seconds=spec.pending or 0.0,
        keep_seconds=spec.keep_firing_for,
        cooldown_seconds=spec.cooldown,
        remind_seconds=spec.remind,
        max_age_seconds=spec.max_age,
        active=tuple(named[name] for name in spec.active_time_intervals),
        mute=tuple(named[name] for name in spec.mute_time_intervals),
        runbook=spec.runbook or "",
        actions=tuple(spec.actions),
        place=place,
    )


def _condition(spec: ConditionSpec, name: str) -> Condition:
    matcher = Matcher(_tests(spec.match), tuple(_tests(one) for one in spec.unless or ()), spec.when or "")
    kind: Kind = Each()
    other: Any = None
    if spec.count is not None:
        kind = Count(spec.count.at_least, spec.count.within)
    elif spec.distinct is not None:
        kind = Count(spec.distinct.at_least, spec.distinct.within, spec.distinct.of)
    elif spec.ratio is not None:
        kind = Ratio(spec.ratio.within, spec.ratio.minimum, spec.ratio.at_least, spec.ratio.at_most)
        other = spec.ratio.of
    elif spec.increase is not None:
        within = spec.increase.within
        kind = Increase(spec.increase.times, within, spec.increase.against or within, spec.increase.at_least)
    elif spec.absent is not None:
        kind = Absent(spec.absent.seconds, spec.absent.of is not None)
        other = spec.absent.of
    elif spec.sequence is not None:
        kind = SequenceOf(spec.sequence.within)
        other = spec.sequence.then
    elif spec.change is not None:
        kind = Change(spec.change.of, _words(spec.change.before), _words(spec.change.after))
    return Condition(name, matcher, kind, None if other is None else Matcher(_tests(other)))


def _tests(match: Mapping[Any, Any]) -> Tests:
    return tuple((fact, _test(value)) for fact, value in match.items())


def _test(value: Scalar | list[Scalar] | RangeSpec | RegexSpec) -> Test:
    if isinstance(value, RangeSpec):
        return Between(value.least, value.most)
    if isinstance(value, RegexSpec):
        return Like(value.regex)
    found = _words(value if isinstance(value, list) else [value])
    return OneOf(found or frozenset())


def _words(values: Iterable[Scalar] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(_word(value) for value in values)


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
