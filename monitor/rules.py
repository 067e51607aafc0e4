"""Rules: YAML text to frozen records, or every mistake with its place."""

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import re2

from monitor import document, durations
from monitor.document import Document, Mistake, Mistaken

PATTERN_MOST = 512
WINDOW_MOST_SECONDS = 30 * 86400.0

FactName = Literal[
    "kind", "origin", "code", "class", "hits", "retryable", "status", "field", "event", "message_type", "category",
    "waba_id", "phone_number_id", "recipient", "wamid", "template", "template_id", "language", "campaign", "anomaly",
    "restriction", "violation", "ban_state", "decision", "severity", "alert_type", "alert_status", "reason", "quality",
    "previous_quality", "template_status", "previous_category", "limit", "previous_limit", "preference",
]  # fmt: skip


EvidenceName = Literal[
    "source", "template", "campaign", "restriction", "recipient", "phone_number_id", "waba_id", "category", "code",
    "wamid",
]  # fmt: skip


def _duration(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError("not a duration: write it as 30s, 5m, 1h30m or 2d")
    return durations.parse(value)


Seconds = Annotated[
    float,
    pydantic.BeforeValidator(_duration, json_schema_input_type=str),
    pydantic.WithJsonSchema({"type": "string", "description": "A duration: 30s, 5m, 1h30m, 2d"}),
]
Name = Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Scalar = pydantic.StrictInt | pydantic.StrictStr | pydantic.StrictBool


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def expression(value: str) -> str:
    """Return the RE2 expression as it is; raise ValueError with the reason where it is none."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(value, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "cannot be compiled"
        raise ValueError(f"not an RE2 expression: {_plain(reason)}") from None
    return value


class RangeSpec(_Strict):
    """A range of whole numbers, both ends included."""

    least: int = pydantic.Field(alias="from")
    most: int = pydantic.Field(alias="to")


class RegexSpec(_Strict):
    """A regular expression (RE2) that the whole value must fulfil."""

    regex: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=PATTERN_MOST)]

    @pydantic.field_validator("regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return expression(value)


def _form(value: Any) -> str:
    if isinstance(value, dict | RangeSpec | RegexSpec):
        return "(regex)" if isinstance(value, RegexSpec) or "regex" in value else "(range)"
    return "(list)" if isinstance(value, list) else "(scalar)"


MatchValue = Annotated[
    Annotated[Scalar, pydantic.Tag("(scalar)")]
    | Annotated[list[Scalar], pydantic.Field(min_length=1), pydantic.Tag("(list)")]
    | Annotated[RangeSpec, pydantic.Tag("(range)")]
    | Annotated[RegexSpec, pydantic.Tag("(regex)")],
    pydantic.Discriminator(_form),
]


class CountSpec(_Strict):
    """How many matching events within how long, in event time."""

    at_least: Annotated[int, pydantic.Field(ge=1, le=10_000)]
    within: Annotated[Seconds, pydantic.Field(gt=0, le=WINDOW_MOST_SECONDS)]


class PauseSpec(_Strict):
    """Stop outbound sending in a scope, for a duration or until someone resumes."""

    scope: Literal["all", "waba", "phone_number", "template", "country", "recipient"]
    lane: Literal["all", "business_initiated", "marketing"] = "all"
    seconds: Annotated[Seconds, pydantic.Field(gt=0)] | None = pydantic.Field(default=None, alias="for")
    until: Literal["resumed"] | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_end(self) -> "PauseSpec":
        if (self.seconds is None) == (self.until is None):
            raise ValueError("say how the pause ends: either `for:` a duration or `until: resumed`")
        return self


class FlagSpec(_Strict):
    """Put the matching events before a human, with the top values of these fields."""

    evidence: list[EvidenceName] = []


class ResendSpec(_Strict):
    """Put the message on the resend list, to be sent again no sooner than after this long."""

    after: Seconds = 0.0


class AlertSpec(_Strict):
    """Tell the on-call person."""

    severity: Literal["critical", "warning", "info"] = "warning"


class ActionSpec(_Strict):
    """One thing to do: exactly one key."""

    pause: PauseSpec | None = None
    flag: FlagSpec | None = None
    resend: ResendSpec | None = None
    alert: AlertSpec | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _bare_word(cls, value: Any) -> Any:
        if isinstance(value, str) and value in {"flag", "resend", "alert"}:
            return {value: {}}
        if isinstance(value, dict):
            return {key: {} if inner is None else inner for key, inner in value.items()}
        return value

    @pydantic.model_validator(mode="after")
    def _exactly_one(self) -> "ActionSpec":
        if len(self.model_fields_set) != 1:
            raise ValueError("an action has exactly one key: pause, flag, resend or alert")
        return self


class RuleSpec(_Strict):
    """What a rule may say."""

    name: Name
    summary: str = ""
    match: Annotated[
        dict[FactName, MatchValue],
        pydantic.Field(min_length=1),
    ]
    count: CountSpec | None = None
    by: list[FactName] = []
    actions: Annotated[list[ActionSpec], pydantic.Field(min_length=1)]

    @pydantic.model_validator(mode="after")
    def _is_whole(self) -> "RuleSpec":
        if self.by and self.count is None:
            raise ValueError("`by:` groups a `count:`; without one it does nothing")
        if any(action.resend for action in self.actions) and self.count is not None:
            raise ValueError("`resend:` acts on one message; it cannot stand beside `count:`")
        return self


class RulesFile(_Strict):
    """The whole file."""

    rules: list[RuleSpec]


class OneOf(msgspec.Struct, frozen=True):
    """The fact is one of these, compared as text."""

    values: frozenset[str]


class Between(msgspec.Struct, frozen=True):
    """The fact is a whole number from `least` to `most`."""

    least: int
    most: int


class Like(msgspec.Struct, frozen=True):
    """The whole fact fulfils an RE2 expression."""

    pattern: str


Test = OneOf | Between | Like


class Rule(msgspec.Struct, frozen=True):
    """A rule that is right: `count_at_least` 1 means that each single event acts."""

    name: str
    summary: str
    tests: tuple[tuple[str, Test], ...]
    count_at_least: int
    within_seconds: float
    by: tuple[str, ...]
    actions: tuple[ActionSpec, ...]
    place: str


class RuleSet(msgspec.Struct, frozen=True):
    """The rules in force and the hash of the text they came from."""

    rules: tuple[Rule, ...]
    hash: str


def load(files: Iterable[tuple[str, bytes]]) -> RuleSet:
    """Read rule files given as name and text; raise Mistaken with every mistake of all of them."""
    mistakes: list[Mistake] = []
    rules: list[Rule] = []
    digest = hashlib.sha256()
    for file, text in files:
        digest.update(text)
        digest.update(b"\0")
        try:
            rules.extend(_file(document.read(text, file)))
        except Mistaken as error:
            mistakes.extend(error.mistakes)
    mistakes.extend(_repeated_names(rules))
    if mistakes:
        raise Mistaken(mistakes)
    return RuleSet(tuple(rules), digest.hexdigest()[:12])


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a rules file, for editors."""
    schema = RulesFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "WhatsApp monitor rules", **schema}


def validated(model: type[pydantic.BaseModel], read: Document) -> Any:
    """Return the document as `model`; raise Mistaken with each fault at its place, allowed values and a guess."""
    try:
        return model.model_validate(read.value)
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False)
        raise Mistaken(_mistakes(model, read, details)) from None


def _file(read: Document) -> list[Rule]:
    found: RulesFile = validated(RulesFile, read)
    rules = []
    for number, spec in enumerate(found.rules):
        line, _ = read.places[("rules", number)]
        rules.append(_rule(spec, f"{read.file}:{line}"))
    return rules


def _rule(spec: RuleSpec, place: str) -> Rule:
    return Rule(
        name=spec.name,
        summary=spec.summary or spec.name,
        tests=tuple((fact, _test(value)) for fact, value in spec.match.items()),
        count_at_least=spec.count.at_least if spec.count else 1,
        within_seconds=spec.count.within if spec.count else 0.0,
        by=tuple(spec.by),
        actions=tuple(spec.actions),
        place=place,
    )


def _test(value: Scalar | list[Scalar] | RangeSpec | RegexSpec) -> Test:
    if isinstance(value, RangeSpec):
        return Between(value.least, value.most)
    if isinstance(value, RegexSpec):
        return Like(value.regex)
    values = value if isinstance(value, list) else [value]
    return OneOf(frozenset(_word(item) for item in values))


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _repeated_names(rules: Sequence[Rule]) -> list[Mistake]:
    places: dict[str, str] = {}
    mistakes = []
    for rule in rules:
        if rule.name in places:
            file, _, line = rule.place.rpartition(":")
            mistakes.append(
                Mistake(file, int(line), 1, "", f"a rule named {rule.name} stands already at {places[rule.name]}")
            )
        places.setdefault(rule.name, rule.place)
    return mistakes


def _mistakes(model: type[pydantic.BaseModel], read: Document, details: Iterable[Any]) -> list[Mistake]:
    """Write pydantic's errors for people; of the branches of a union only the nearest one speaks."""
    found: dict[tuple[str | int, ...], Mistake] = {}
    for detail in details:
        path = tuple(part for part in detail["loc"] if _is_written(part))
        while path and path not in read.places and path[:-1] not in read.places:
            path = path[:-1]
        message = _message(model, detail)
        if path not in found or detail["type"] == "extra_forbidden":
            found[path] = read.mistake(path, message)
    return list(found.values())


def _is_written(part: str | int) -> bool:
    """Leave out what pydantic adds for union branches and dictionary keys."""
    return isinstance(part, int) or not (part.startswith(("(", "[")) or part in {"int", "str", "bool"})


def _message(model: type[pydantic.BaseModel], detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    given = detail.get("input")
    if kind == "extra_forbidden":
        allowed = _allowed_keys(model, tuple(part for part in detail["loc"][:-1] if _is_written(part)))
        return _with_guess("unknown key", str(detail["loc"][-1]), allowed)
    if kind == "literal_error":
        return _with_guess(f"not allowed: {_plain(given)}", str(given), _quoted(context["expected"]))
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "required, but missing"
    if kind == "string_pattern_mismatch":
        return f"{_plain(given)} must fulfil {context['pattern']}"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, got {_plain(given)}"


def _with_guess(what: str, given: str, allowed: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, allowed, n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    return f"{what}; allowed: {', '.join(allowed)}{guess}" if allowed else what


def _quoted(expected: str) -> list[str]:
    return [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]


def _allowed_keys(model: type[pydantic.BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the model takes at `path`, by walking its JSON Schema."""
    schema = model.model_json_schema(by_alias=True)
    here: Any = schema
    for part in path:
        here = _resolve(schema, here)
        here = here.get("items", {}) if isinstance(part, int) else here.get("properties", {}).get(part, here)
    return list(_resolve(schema, here).get("properties", {}))


def _resolve(schema: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    for branch in (here, *here.get("anyOf", ()), *here.get("allOf", ())):
        if "$ref" in branch:
            return dict(schema["$defs"][branch["$ref"].rsplit("/", 1)[1]])
    return here


def _plain(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return repr(text[:60]) if isinstance(value, str) else text[:60]
