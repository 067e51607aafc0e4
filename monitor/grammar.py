"""What a rules file may say, as pydantic reads it."""

import typing
from typing import Annotated, Any, Literal

import pydantic
import re2

from monitor import durations, expressions
from monitor.intervals import NamedIntervalSpec
from monitor.validation import plain

PATTERN_MOST = 512
WINDOW_MOST_SECONDS = 30 * 86400.0
COUNT_MOST = 10_000
KINDS = ("count", "ratio", "distinct", "increase", "absent", "sequence", "change")

FactName = Literal[
    "kind", "origin", "code", "class", "hits", "retryable", "status", "field", "event", "message_type", "category",
    "waba_id", "phone_number_id", "recipient", "wamid", "template", "template_id", "language", "campaign", "anomaly",
    "restriction", "violation", "ban_state", "decision", "severity", "alert_type", "alert_status", "reason", "quality",
    "previous_quality", "template_status", "previous_category", "limit", "previous_limit", "preference", "country",
    "source", "caller", "trigger",
]  # fmt: skip


FACTS: tuple[str, ...] = typing.get_args(FactName)
EvidenceName = Literal[
    "source", "caller", "trigger", "template", "campaign", "restriction", "recipient", "phone_number_id", "waba_id",
    "category", "code", "country", "wamid",
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
        raise ValueError(f"not an RE2 expression: {plain(reason)}") from None
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


def _rate(value: Any) -> float:
    return durations.rate(value if isinstance(value, str) else "")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _expression(value: str) -> str:
    return str(expressions.check(value, FACTS))


MatchValue = Annotated[
    Annotated[Scalar, pydantic.Tag("(scalar)")]
    | Annotated[list[Scalar], pydantic.Field(min_length=1), pydantic.Tag("(list)")]
    | Annotated[RangeSpec, pydantic.Tag("(range)")]
    | Annotated[RegexSpec, pydantic.Tag("(regex)")],
    pydantic.Discriminator(_form),
]


Match = Annotated[dict[FactName, MatchValue], pydantic.Field(min_length=1)]
Values = Annotated[
    list[Scalar],
    pydantic.BeforeValidator(
        lambda value: value if isinstance(value, list) else [value], json_schema_input_type=list[Scalar] | Scalar
    ),
]
Window = Annotated[Seconds, pydantic.Field(gt=0, le=WINDOW_MOST_SECONDS)]
Rate = Annotated[
    float,
    pydantic.BeforeValidator(_rate, json_schema_input_type=str),
    pydantic.WithJsonSchema({"type": "string", "description": "A rate: 10/s, 30/m, 500/h"}),
]
ScopeName = Literal["all", "waba", "phone_number", "template", "category", "campaign", "country", "recipient", "pair"]
LaneName = Literal["all", "business_initiated", "marketing"]


class CountSpec(_Strict):
    """How many matching events within how long, in event time."""

    at_least: Annotated[int, pydantic.Field(ge=1, le=COUNT_MOST)]
    within: Window


class RatioSpec(_Strict):
    """Which share of the events of a base set match, once there are enough of them."""

    of: Match
    within: Window
    minimum: Annotated[int, pydantic.Field(ge=1)]
    at_least: Annotated[float, pydantic.Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    at_most: Annotated[float, pydantic.Field(ge=0, le=1, allow_inf_nan=False)] | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_bound(self) -> "RatioSpec":
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("say one of `at_least:` and `at_most:`, a share from 0 to 1")
        return self


class DistinctSpec(_Strict):
    """How many different values of a fact the matching events have within how long."""

    of: FactName
    at_least: Annotated[int, pydantic.Field(ge=2, le=COUNT_MOST)]
    within: Window


class IncreaseSpec(_Strict):
    """How many times more matching events than before, measured against the time just before the window."""

    times: Annotated[float, pydantic.Field(gt=1, le=1_000_000, allow_inf_nan=False)]
    within: Window
    against: Window | None = None
    at_least: Annotated[int, pydantic.Field(ge=1)]


class AbsentSpec(_Strict):
    """For how long nothing came: no matching event after one, or none `of` another kind after a matching one."""

    seconds: Window = pydantic.Field(alias="for")
    of: Match | None = None


class SequenceSpec(_Strict):
    """What must follow a matching event of the same group, and how soon."""

    then: Match
    within: Window


class ChangeSpec(_Strict):
    """Which fact must become another than it was in the same group."""

    of: FactName
    before: Values | None = pydantic.Field(default=None, alias="from")
    after: Values | None = pydantic.Field(default=None, alias="to")


class BackoffSpec(_Strict):
    """How much longer a pause becomes with each time that it was not long enough."""

    factor: Annotated[float, pydantic.Field(gt=1, le=100, allow_inf_nan=False)]
    most: Annotated[Seconds, pydantic.Field(gt=0)]


class ProbeSpec(_Strict):
    """How sending comes back after a pause: `rate` for a while, then 5 % and 25 % of all sends for `ramp` each.

    The next signal meanwhile pauses again.
    """

    rate: Rate
    seconds: Annotated[Seconds, pydantic.Field(gt=0)] = pydantic.Field(default=600.0, alias="for")
    ramp: Annotated[Seconds, pydantic.Field(gt=0)] = 600.0


class PauseSpec(_Strict):
    """Stop outbound sending in a scope, for a duration, until someone resumes or until the rule is clear."""

    scope: ScopeName
    lane: LaneName = "all"
    seconds: Annotated[Seconds, pydantic.Field(gt=0)] | None = pydantic.Field(default=None, alias="for")
    until: Literal["resumed", "cleared"] | None = None
    backoff: BackoffSpec | None = None
    probe: ProbeSpec | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_end(self) -> "PauseSpec":
        if (self.seconds is None) == (self.until is None):
            raise ValueError("say how the pause ends: either `for:` a duration or `until: resumed`")
        if self.seconds is None and (self.backoff or self.probe):
            raise ValueError("`backoff:` and `probe:` follow upon `for:` a duration")
        if self.backoff is not None and self.seconds is not None and self.backoff.most < self.seconds:
            raise ValueError("`most:` of a backoff can't be shorter than `for:`")
        return self


class RestoreSpec(_Strict):
    """How a throttle is lifted: the rate doubles with each step, and after the last one it is free."""

    steps: Annotated[int, pydantic.Field(ge=1, le=16)]
    every: Annotated[Seconds, pydantic.Field(gt=0)]


class ThrottleSpec(_Strict):
    """Let only so many messages through in a scope, for a duration after the newest evidence."""

    scope: ScopeName
    lane: LaneName = "all"
    rate: Rate
    seconds: Annotated[Seconds, pydantic.Field(gt=0)] = pydantic.Field(alias="for")
    restore: RestoreSpec | None = None


class ResumeSpec(_Strict):
    """Release what rules have paused in a scope, never what a human has."""

    scope: ScopeName
    rules: list[Name] = []


class FlagSpec(_Strict):
    """Put the matching events before a human, with the top values of these fields."""

    evidence: list[EvidenceName] = []


class ResendSpec(_Strict):
    """Put the message on the resend list, to be sent again no sooner than after this long."""

    after: Seconds = 0.0


class AlertSpec(_Strict):
    """Tell the on-call person."""

    severity: Literal["critical", "warning", "info"] = "warning"


class AnnotateSpec(_Strict):
    """Leave a note in the audit log, which dashboards show as an annotation."""

    text: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=500)]


class WebhookSpec(_Strict):
    """Post the firing to one of `alerts.webhooks` of the configuration, by its name."""

    to: Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class ActionSpec(_Strict):
    """One thing to do: exactly one key."""

    pause: PauseSpec | None = None
    throttle: ThrottleSpec | None = None
    resume: ResumeSpec | None = None
    flag: FlagSpec | None = None
    resend: ResendSpec | None = None
    alert: AlertSpec | None = None
    annotate: AnnotateSpec | None = None
    webhook: WebhookSpec | None = None

    @pydantic.model_validator(mode="after")
    def _exactly_one(self) -> "ActionSpec":
        if len(self.model_fields_set) != 1:
            raise ValueError(f"an action has exactly one key: {', '.join(type(self).model_fields)}")
        return self


def _bare_word(value: Any) -> Any:
    """An action that needs no keys may stand as a word."""
    if isinstance(value, str) and value in {"flag", "resend", "alert"}:
        return {value: {}}
    if isinstance(value, dict):
        return {key: {} if inner is None else inner for key, inner in value.items()}
    return value


Action = Annotated[
    ActionSpec,
    pydantic.BeforeValidator(_bare_word, json_schema_input_type=ActionSpec | Literal["flag", "resend", "alert"]),
]
Unless = Annotated[
    list[Match],
    pydantic.BeforeValidator(_listed, json_schema_input_type=list[Match] | Match),
    pydantic.Field(min_length=1),
]


class ConditionSpec(_Strict):
    """What must hold: matching events, one by one or seen together by at most one of the kinds."""

    match: Match
    unless: Unless | None = None
    when: Annotated[str, pydantic.AfterValidator(_expression)] | None = None
    count: CountSpec | None = None
    ratio: RatioSpec | None = None
    distinct: DistinctSpec | None = None
    increase: IncreaseSpec | None = None
    absent: AbsentSpec | None = None
    sequence: SequenceSpec | None = None
    change: ChangeSpec | None = None

    @pydantic.model_validator(mode="after")
    def _has_one_kind(self) -> "ConditionSpec":
        if len(given := kinds_of(self)) > 1:
            raise ValueError(f"a condition has at most one kind, here are {' and '.join(given)}")
        return self


class RuleSpec(ConditionSpec):
    """What a rule may say."""

    name: Name
    summary: str = ""
    mode: Literal["enforce", "shadow", "off"] = "enforce"
    by: list[FactName] = []
    pending: Annotated[Seconds, pydantic.Field(gt=0, le=WINDOW_MOST_SECONDS)] | None = pydantic.Field(
        default=None, alias="for"
    )
    clear: ConditionSpec | None = None
    keep_firing_for: Annotated[Seconds, pydantic.Field(ge=0, le=WINDOW_MOST_SECONDS)] | None = None
    cooldown: Annotated[Seconds, pydantic.Field(ge=0, le=WINDOW_MOST_SECONDS)] = 0.0
    remind: Annotated[Seconds, pydantic.Field(ge=60)] | None = None
    max_age: Annotated[Seconds, pydantic.Field(gt=0, le=WINDOW_MOST_SECONDS)] = 3600.0
    active_time_intervals: list[str] = []
    mute_time_intervals: list[str] = []
    runbook: Annotated[str, pydantic.StringConstraints(pattern=r"^https?://\S+$")] | None = None
    actions: Annotated[list[Action], pydantic.Field(min_length=1)]

    @pydantic.model_validator(mode="after")
    def _is_whole(self) -> "RuleSpec":
        given = kinds_of(self)
        if any(action.resend for action in self.actions) and given:
            raise ValueError(f"`resend:` acts on one message; it cannot stand beside `{given[0]}:`")
        if self.pending is not None and (not given or self.sequence is not None):
            raise ValueError("`for:` needs something that lasts: count, ratio, distinct, increase, absent or change")
        if self.pending is not None and self.change is not None and self.change.after is None:
            raise ValueError("`for:` beside `change:` needs `to:`, since a change as such does not last")
        if any(action.pause and action.pause.until == "cleared" for action in self.actions) and not (
            self.clear or self.absent or (self.change and self.change.after)
        ):
            raise ValueError("`until: cleared` needs `clear:`, or a condition that ends by itself: absent, change to")
        if self.remind is not None and not any(action.alert for action in self.actions):
            raise ValueError("`remind:` repeats an alert; there is none among the actions")
        return self


def _all_optional() -> type[_Strict]:
    """Return a model with the keys of a rule, of which only the name is needed."""
    fields: dict[str, Any] = {
        name: (_annotated(field) | None, pydantic.Field(default=None, alias=field.alias))
        for name, field in RuleSpec.model_fields.items()
        if name != "name"
    }
    told = "What to say otherwise of a rule that some file holds; a key without a value is taken away."
    return pydantic.create_model("OverrideSpec", __base__=_Strict, __doc__=told, name=(Name, ...), **fields)


def _annotated(field: Any) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


OverrideSpec = _all_optional()


class RulesFile(_Strict):
    """The whole file."""

    time_intervals: list[NamedIntervalSpec] = []
    rules: list[RuleSpec] = []
    override: list[OverrideSpec] = []  # type: ignore[valid-type] # made above


def kinds_of(spec: ConditionSpec) -> list[str]:
    """Return which kinds of condition are given, none for single events."""
    return [name for name in KINDS if getattr(spec, name) is not None]
