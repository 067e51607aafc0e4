"""The words of a rules file: facts, durations, rates, scopes, and what a fact may be compared with."""

import typing
from typing import Annotated, Any, Literal

import pydantic
import re2

from monitor import durations
from monitor.validation import plain

PATTERN_MOST = 512
WINDOW_MOST_SECONDS = 30 * 86400.0
COUNT_MOST = 10_000

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


class Strict(pydantic.BaseModel):
    """What has no other keys than its own."""

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


class RangeSpec(Strict):
    """A range of whole numbers, both ends included."""

    least: int = pydantic.Field(alias="from")
    most: int = pydantic.Field(alias="to")


class RegexSpec(Strict):
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
