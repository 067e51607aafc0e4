"""Sightings: an event as windows remember it, small, since there may be a million of them."""

import msgspec

from monitor.actions import Evidence


class About(msgspec.Struct, frozen=True, gc=False):
    """What many sightings have in common, so that they share one record of it."""

    kind: str
    origin: str
    code: int | None
    title: str
    waba_id: str
    phone_number_id: str
    category: str
    source: str
    template: str
    campaign: str
    restriction: str
    country: str
    caller: str = ""
    trigger: str = ""


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """A matching event: when Meta says that it happened, when and where in the journal we received it, and of whom."""

    at: float
    received_at: float
    position: int
    wamid: str
    recipient: str
    about: About


def evidence(sighting: Sighting) -> Evidence:
    """Return a sighting as the evidence that a decision keeps."""
    about = sighting.about
    return Evidence(
        sighting.position, about.kind, sighting.at, sighting.received_at, about.origin, about.code, about.title,
        about.waba_id, about.phone_number_id, sighting.wamid, sighting.recipient, about.category, about.source,
        about.template, about.campaign, about.restriction, about.country, about.caller, about.trigger,
    )  # fmt: skip
