"""What a rules file may say, as pydantic reads it."""

from typing import Annotated, Any, Literal

import pydantic

from monitor import expressions
from monitor.actions import ALERTS_MOST
from monitor.intervals import NamedIntervalSpec
from monitor.vocabulary import (
    COUNT_MOST,
    FACTS,
    WINDOW_MOST_SECONDS,
    EvidenceName,
    FactName,
    LaneName,
    Match,
    Name,
    Rate,
    ScopeName,
    Seconds,
    Strict,
    Values,
    Window,
)

KINDS = ("count", "ratio", "distinct", "increase", "absent", "sequence", "change")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _expression(value: str) -> str:
    return str(expressions.check(value, FACTS))


class CountSpec(Strict):
    """How many matching events within how long, in event time."""

    at_least: Annotated[int, pydantic.Field(ge=1, le=COUNT_MOST)]
    within: Window


class RatioSpec(Strict):
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


class DistinctSpec(Strict):
    """How many different values of a fact the matching events have within how long."""

    of: FactName
    at_least: Annotated[int, pydantic.Field(ge=2, le=COUNT_MOST)]
    within: Window


class IncreaseSpec(Strict):
    """How many times more matching events than before, measured against the time just before the window."""

    times: Annotated[float, pydantic.Field(gt=1, le=1_000_000, allow_inf_nan=False)]
    within: Window
    against: Window | None = None
    at_least: Annotated[int, pydantic.Field(ge=1)]


class AbsentSpec(Strict):
    """For how long nothing came: no matching event after one, or none `of` another kind after a matching one."""

    seconds: Window = pydantic.Field(alias="for")
    of: Match | None = None


class SequenceSpec(Strict):
    """What must follow a matching event of the same group, and how soon."""

    then: Match
    within: Window


class ChangeSpec(Strict):
    """Which fact must become another than it was in the same group."""

    of: FactName
    before: Values | None = pydantic.Field(default=None, alias="from")
    after: Values | None = pydantic.Field(default=None, alias="to")


class BackoffSpec(Strict):
    """How much longer a pause becomes with each time that it was not long enough."""

    factor: Annotated[float, pydantic.Field(gt=1, le=100, allow_inf_nan=False)]
    most: Annotated[Seconds, pydantic.Field(gt=0)]


class ProbeSpec(Strict):
    """How sending comes back after a pause: `rate` for a while, then 5 % and 25 % of all sends for `ramp` each.

    The next signal meanwhile pauses again.
    """

    rate: Rate
    seconds: Annotated[Seconds, pydantic.Field(gt=0)] = pydantic.Field(default=600.0, alias="for")
    ramp: Annotated[Seconds, pydantic.Field(gt=0)] = 600.0


class PauseSpec(Strict):
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


class RestoreSpec(Strict):
    """How a throttle is lifted: the rate doubles with each step, and after the last one it is free."""

    steps: Annotated[int, pydantic.Field(ge=1, le=16)]
    every: Annotated[Seconds, pydantic.Field(gt=0)]


class ThrottleSpec(Strict):
    """Let only so many messages through in a scope, for a duration after the newest evidence."""

    scope: ScopeName
    lane: LaneName = "all"
    rate: Rate
    seconds: Annotated[Seconds, pydantic.Field(gt=0)] = pydantic.Field(alias="for")
    restore: RestoreSpec | None = None


class ResumeSpec(Strict):
    """Release what rules have paused in a scope, never what a human has."""

    scope: ScopeName
    rules: list[Name] = pydantic.Field(default_factory=list)


class FlagSpec(Strict):
    """Put the matching events before a human, with the top values of these fields."""

    evidence: list[EvidenceName] = pydantic.Field(default_factory=list)


class ResendSpec(Strict):
    """Put the message on the resend list, to be sent again no sooner than after this long."""

    after: Seconds = 0.0


class AlertSpec(Strict):
    """Tell the on-call person; after so many within a quarter of an hour the rule's further alerts are one."""

    severity: Literal["critical", "warning", "info"] = "warning"
    most: Annotated[int, pydantic.Field(ge=1, le=1000)] = ALERTS_MOST


class AnnotateSpec(Strict):
    """Leave a note in the audit log, which dashboards show as an annotation."""

    text: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=500)]


class WebhookSpec(Strict):
    """Post the firing to one of `alerts.webhooks` of the configuration, by its name."""

    to: Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class ActionSpec(Strict):
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


class ConditionSpec(Strict):
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
    by: list[FactName] = pydantic.Field(default_factory=list)
    pending: Annotated[Seconds, pydantic.Field(gt=0, le=WINDOW_MOST_SECONDS)] | None = pydantic.Field(
        default=None, alias="for"
    )
    clear: ConditionSpec | None = None
    keep_firing_for: Annotated[Seconds, pydantic.Field(ge=0, le=WINDOW_MOST_SECONDS)] | None = None
    cooldown: Annotated[Seconds, pydantic.Field(ge=0, le=WINDOW_MOST_SECONDS)] = 0.0
    remind: Annotated[Seconds, pydantic.Field(ge=60)] | None = None
    max_age: Annotated[Seconds, pydantic.Field(gt=0, le=WINDOW_MOST_SECONDS)] = 3600.0
    active_time_intervals: list[str] = pydantic.Field(default_factory=list)
    mute_time_intervals: list[str] = pydantic.Field(default_factory=list)
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


def _all_optional() -> type[Strict]:
    """Return a model with the keys of a rule, of which only the name is needed."""
    fields: dict[str, Any] = {
        name: (_annotated(field) | None, pydantic.Field(default=None, alias=field.alias))
        for name, field in RuleSpec.model_fields.items()
        if name != "name"
    }
    told = "What to say otherwise of a rule that some file holds; a key without a value is taken away."
    return pydantic.create_model("OverrideSpec", __base__=Strict, __doc__=told, name=(Name, ...), **fields)


def _annotated(field: Any) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


OverrideSpec = _all_optional()


class RulesFile(Strict):
    """The whole file."""

    time_intervals: list[NamedIntervalSpec] = pydantic.Field(default_factory=list)
    rules: list[RuleSpec] = pydantic.Field(default_factory=list)
    override: list[OverrideSpec] = pydantic.Field(default_factory=list)  # type: ignore[valid-type] # made above


def kinds_of(spec: ConditionSpec) -> list[str]:
    """Return which kinds of condition are given, none for single events."""
    return [name for name in KINDS if getattr(spec, name) is not None]
