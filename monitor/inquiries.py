"""Inquiries: what must be known from the store before events can take effect."""

from monitor import aspects, codes, effects, messages
from monitor.codes import Catalogue
from monitor.events import (
    AccountEvent,
    Duplicate,
    ErrorReport,
    Event,
    InboundMessage,
    MetaEvent,
    ResendsClaimed,
    ResendSettled,
    SendFailed,
    Sent,
    Status,
    Tick,
    Unparsed,
    Unsettled,
)
from monitor.memory import Memory


class Asked:
    """What a batch of events needs to know."""

    def __init__(self, memory: Memory, catalogue: Catalogue) -> None:
        self._memory = memory
        self._catalogue = catalogue
        self.wamids: set[str] = set()
        self.keys: set[str] = set()
        self.resend_ids: set[str] = set()
        self.claimed_ids: set[str] = set()
        self.failed: set[str] = set()  # messages that may be listed to be sent again already
        self.people: set[str] = set()

    def note(self, event: Event) -> None:
        """Note what an event speaks of."""
        match event:
            case Status():
                self.wamids.add(event.wamid)
                self.resend_ids.update(self._memory.waiting.of(event.wamid, event.recipient, event.alias))
                if event.token:
                    self.wamids.add(messages.unsettled_id(event.token[1:]))
                if event.errors:
                    self.people.update(filter(None, (event.recipient, event.alias)))
                    self.failed.add(event.wamid)
                    self._note_new_codes(event)
            case InboundMessage():
                answered = event.context or self._memory.recent.get((event.phone_number_id, event.sender), "")
                self.wamids.update(filter(None, (event.wamid, answered)))
                self._note_new_codes(event)
            case Sent():
                self.wamids.add(event.wamid)
                self.resend_ids.update(self._memory.waiting.of(event.wamid, event.recipient))
            case Unsettled():
                self.wamids.add(messages.unsettled_id(event.token or event.key))
            case ErrorReport() | AccountEvent() | Unparsed() | SendFailed() | Duplicate():
                self.keys.add(event.key)
                self._note_new_codes(event)
            case Tick():
                self.wamids.update(event.wamids)
            case ResendsClaimed():
                self.resend_ids.update(event.resend_ids)
                self.claimed_ids.update(event.resend_ids)
            case ResendSettled():
                self.resend_ids.add(event.resend_id)
                self.wamids.update(filter(None, (event.wamid,)))
            case _:
                pass

    def _note_new_codes(self, event: MetaEvent) -> None:
        for error in aspects.errors(event):
            if error.code is not None and codes.find(self._catalogue, error.code) is None:
                self.keys.add(effects.new_code_key(error.code))
