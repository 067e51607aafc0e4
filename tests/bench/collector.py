"""An OTLP endpoint that takes spans and forgets them."""

import sys

import uvloop

from monitor import listeners
from monitor.receive import Receive, Scope, Send


async def app(_: Scope, receive: Receive, send: Send) -> None:
    """Read and answer."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvloop.run(listeners.server(app).serve([listeners.bind(sys.argv[1])]))
