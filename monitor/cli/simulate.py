"""`simulate`: a stand-in for Meta, an application that sends, and an incident in what comes of it."""

import itertools
import random
import sys
import time
from collections.abc import Iterator

import click
import httpx2

from monitor import payloads, sends, signature
from monitor.cli.fake_graph import FakeGraph
from monitor.tokens import FIELD

FAILED = 1
WABA_ID = "100000000000001"
NUMBERS = ("200000000000001", "200000000000002")
TEMPLATES = {"marketing": "spring_offer", "utility": "parcel_on_its_way", "authentication": "sign_in_code"}
SHARES = {"sent": 1.0, "delivered": 0.93, "read": 0.6}
STEP_SECONDS = 0.5


@click.command()
@click.option("--webhook", default="http://127.0.0.1:8368/webhook", show_default=True, help="Where to post.")
@click.option(
    "--web",
    default="http://127.0.0.1:9368",
    show_default=True,
    help="The internal listener, to show the gate and to release the pause.",
)
@click.option(
    "--secret",
    required=True,
    envvar="META_APP_SECRET",
    help="The app secret to sign with; better given as META_APP_SECRET.",
)
@click.option(
    "--graph.listen-address",
    "graph_address",
    help="Also play the Graph API here (loopback only), and send through the sidecar's proxy to it.",
)
@click.option("--rate", default=20, show_default=True, type=click.IntRange(1, 2000), help="Messages per second.")
@click.option(
    "--seconds", default=0, show_default=True, type=click.IntRange(0), help="How long to run; 0 until interrupted."
)
@click.option(
    "--incident/--no-incident", default=True, show_default=True, help="Play a 506 burst, a 368 block and its release."
)
@click.option("--seed", default=1, show_default=True, help="Seed of what is made up.")
def simulate(
    webhook: str, web: str, secret: str, graph_address: str | None, rate: int, seconds: int, incident: bool, seed: int
) -> None:
    """Play Meta: traffic of two numbers, then a burst of duplicates, a policy block and its release.

    Webhooks go only to the given address. The block stops the simulated application too: it asks the gate before each
    step, as yours should, or sends through the proxy, which does. The sidecar's graph.url must be the address given as
    --graph.listen-address then.
    """
    try:
        graph = FakeGraph(graph_address) if graph_address else None
    except (ValueError, OSError) as error:
        raise click.UsageError(f"--graph.listen-address: {error}") from None
    play = _Play(webhook, web, secret, rate, random.Random(seed), graph)  # noqa: S311 (a simulation)
    try:
        play.run(seconds, incident)
    except KeyboardInterrupt:
        click.echo("interrupted")
    except httpx2.HTTPError as error:
        click.echo(f"whatsapp-monitor: {webhook} or {web} does not answer: {type(error).__name__}", err=True)
        sys.exit(FAILED)
    finally:
        if graph is not None:
            graph.close()


class _Play:
    """The simulated application and Meta, second by second."""

    def __init__(
        self, webhook: str, web: str, secret: str, rate: int, chance: random.Random, graph: FakeGraph | None
    ) -> None:
        self._webhook, self._web, self._secret, self._rate = webhook, web.rstrip("/"), secret.encode(), rate
        self._chance = chance
        self._graph = graph
        self._refused = 0
        self._client = httpx2.Client(timeout=10, trust_env=False)
        self._serial = itertools.count(int(time.time() * 1000))

    def run(self, seconds: int, incident: bool) -> None:
        started_at = time.monotonic()
        script = self._incident() if incident else iter(())
        for step in itertools.count():
            elapsed = time.monotonic() - started_at
            if seconds and elapsed >= seconds:
                self._say(elapsed)
                break
            if elapsed >= 5:
                next(script, None)
            self._traffic()
            if step % 10 == 0:
                self._say(elapsed)
            time.sleep(max(0.0, started_at + (step + 1) * STEP_SECONDS - time.monotonic()))

    def _traffic(self) -> None:
        for number in NUMBERS:
            if not self._may_send(number):
                if self._graph is not None:  # a worker that does not ask: the proxy holds it
                    self._life(number)
                continue
            for _ in range(max(1, int(self._rate * STEP_SECONDS / len(NUMBERS)))):
                self._life(number)

    def _life(self, number: str) -> None:
        """One message from sent to its end, as three webhooks; some fail, some are answered."""
        now = time.time()
        recipient = f"1555{self._chance.randrange(10**7):07d}"
        category = self._chance.choice(("marketing", "utility", "authentication"))
        wamid = self._send(number, recipient, category)
        if not wamid:
            return
        echoed = "" if self._graph is None else self._graph.callback_data(wamid)
        if self._chance.random() < 0.03:
            code = self._chance.choice((131026, 131049, 131047, 131043))
            item = payloads.status(
                wamid, "failed", now, recipient=recipient, category=category, codes=(code,), callback_data=echoed
            )
            self._status(number, item)
            return
        for offset, (name, share) in enumerate(SHARES.items()):
            if self._chance.random() <= share:
                item = payloads.status(
                    wamid, name, now - 2 + offset, recipient=recipient, category=category, callback_data=echoed
                )
                self._status(number, item)
        if self._chance.random() < 0.1:
            self._post(
                payloads.change(number, messages=[payloads.message(f"{self._wamid()}.in", now, sender=recipient)])
            )

    def _send(
        self, number: str, recipient: str, category: str, caller: str = "simulated-app", callback_data: str = "app"
    ) -> str:
        """Send through the proxy, or say that it was done; return the message's wamid, empty where it was refused."""
        if self._graph is None:
            wamid = self._wamid()
            self._report(number, wamid, recipient, category)
            return wamid
        template = {"name": TEMPLATES[category], "language": {"code": "en_US"}}
        message = {"messaging_product": "whatsapp", "to": recipient, "type": "template", "template": template}
        message[FIELD] = callback_data
        headers = {"Authorization": "Bearer demo", "X-Gate-Category": category, "X-Gate-Caller": caller}
        answer = self._client.post(f"{self._web}/graph/v23.0/{number}/messages", json=message, headers=headers)
        if answer.status_code != 200:
            self._refused += sends.is_own(answer.json())
            return ""
        return str(answer.json()["messages"][0]["id"])

    def _report(self, number: str, wamid: str, recipient: str, category: str) -> None:
        """Tell the sidecar what the Graph API answered, as an application does that sends by itself."""
        sent = {
            "phone_number_id": number,
            "waba_id": WABA_ID,
            "recipient": recipient,
            "category": category,
            "template": TEMPLATES[category],
            "answer": {"messaging_product": "whatsapp", "messages": [{"id": wamid}]},
        }
        self._client.post(f"{self._web}/v1/sends", json=sent)

    def _incident(self) -> Iterator[None]:
        click.echo("incident: the same message is posted again and again (506)")
        recipient = "15551234567"
        for _ in range(8):
            wamid = self._send(NUMBERS[0], recipient, "marketing", "nightly-import", "nightly-import")
            echoed = "nightly-import" if self._graph is None else self._graph.callback_data(wamid)
            burst = payloads.status(
                wamid or self._wamid(), "failed", time.time(), recipient=recipient, codes=(506,), callback_data=echoed
            )
            self._status(NUMBERS[0], burst)
        yield from itertools.repeat(None, 10)
        click.echo("incident: Meta blocks the account (368)")
        self._post(payloads.change(NUMBERS[0], errors=[payloads.error(368)]))
        if self._graph is not None:
            self._graph.is_blocked = True
        yield from itertools.repeat(None, 20)
        if self._graph is not None:
            self._graph.is_blocked = False
        for pause in self._client.get(f"{self._web}/v1/pauses").json().get("pauses", []):
            act = {"actor": "simulator", "reason": "the simulated appeal was granted"}
            answer = self._client.post(f"{self._web}/v1/pauses/{pause['id']}/resume", json=act)
            click.echo(f"incident: released pause {pause['id']} of rule {pause['rule']}: {answer.status_code}")

    def _may_send(self, number: str) -> bool:
        return self._client.get(f"{self._web}/v1/gate/{number}").status_code == 200

    def _status(self, number: str, item: dict[str, object]) -> None:
        self._post(payloads.change(number, statuses=[item]))

    def _post(self, change: dict[str, object]) -> None:
        body = payloads.delivery(change, waba_id=WABA_ID)
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": signature.sign(body, self._secret)}
        answer = self._client.post(self._webhook, content=body, headers=headers)
        if answer.status_code != 200:
            click.echo(f"the webhook answered {answer.status_code}", err=True)

    def _say(self, elapsed: float) -> None:
        verdict = self._client.get(f"{self._web}/v1/gate/{NUMBERS[0]}")
        said = (
            "may send" if verdict.status_code == 200 else f"must not send: {verdict.headers.get('X-Gate-Reason', '')}"
        )
        graph = self._graph
        held = f"; the proxy refused {self._refused}"
        sent = "" if graph is None else f"; Graph took {graph.taken}, refused {graph.refused}{held}"
        click.echo(f"{elapsed:6.1f}s  {said}{sent}")

    def _wamid(self) -> str:
        return f"wamid.SIMULATED{next(self._serial):020d}"
