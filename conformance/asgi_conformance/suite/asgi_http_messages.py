"""The ASGI contract: messages of HTTP that the application sends (ASGI www)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic

if TYPE_CHECKING:
    from asgi_conformance.stage import Stage

__all__ = ["HTTP_MESSAGES"]

HTTP_MESSAGES: Final = Topic("asgi/http-messages", "ASGI: the messages of a response")


def swallowing(app: Any) -> Any:
    """A server whose send() never raises."""

    async def swallows(scope: Any, receive: Any, send: Any) -> None:
        async def quiet(message: Any) -> None:
            try:
                await send(message)
            except Exception:  # noqa: BLE001 - that is what it is for
                return

        await app(scope, receive, quiet)

    return swallows


@HTTP_MESSAGES.scenario(
    "asgi.http.body-before-start",
    "ASGI asgi, Error Handling",
    level=Level.SHOULD,
    says="If a server receives an invalid event dictionary - for example, having an unknown type, missing keys an event type should have, or with "
    "wrong Python types for objects (for example, Unicode strings for HTTP headers) - it should raise an exception out of the send awaitable back "
    "to the application.",
    expects="an exception out of send() for a body before the start, and the response behind it served",
    bad=Distortion(app=swallowing),
)
def body_before_start(stage: Stage) -> None:
    response = stage.request(script=[["try", ["body", "x"]], ["respond", 200, [["content-length", "0"]]]])
    stage.check(response.status == 200, f"{response.status}")
    stage.check(stage.record().send_errors, "send() raised nothing")
