"""The yardstick: a Starlette application that reads the body and answers, and a GET that does nothing."""

import sys

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import listeners


async def webhook(request: Request) -> Response:
    """Read the body."""
    await request.body()
    return Response()


async def gate(_: Request) -> Response:
    """Answer."""
    return Response(b'{"allow":true}', media_type="application/json")


app = Starlette(routes=[Route("/webhook", webhook, methods=["POST"]), Route("/v1/gate/{number}", gate)])

if __name__ == "__main__":
    uvloop.run(listeners.server(app).serve([listeners.bind(sys.argv[1])]))
