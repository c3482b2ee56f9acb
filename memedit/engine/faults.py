"""The engine's answers to what it cannot do, in OpenAI's shape with vLLM's codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from memedit.errors import MemeditError

TYPES: Mapping[int, str] = {
    400: "BadRequestError",
    404: "NotFoundError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
}


class ApiFault(MemeditError):
    """A request that is answered with an error."""

    code = "api_fault"

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status_code = status
        self.param = param

    def body(self) -> dict[str, Any]:
        """Return the JSON body: ``{"error": {message, type, param, code}}``."""
        kind = TYPES.get(
            self.status_code,
            "InternalServerError" if self.status_code >= 500 else "BadRequestError",
        )
        return {
            "error": {
                "message": str(self),
                "type": kind,
                "param": self.param,
                "code": self.status_code,
            }
        }


def as_fault(error: Exception) -> ApiFault:
    """Turn whatever went wrong into the error that the client is told.

    What went wrong inside is logged where it happened; the client learns no more of it.
    """
    if isinstance(error, ApiFault):
        return error
    if isinstance(error, HTTPException):
        return ApiFault(str(error.detail), status=error.status_code)
    if isinstance(error, MemeditError):
        return ApiFault(str(error), status=error.status)
    return ApiFault("the engine failed while working on this request; see its log", status=500)


async def answer_fault(request: Request, error: Exception) -> Response:
    """Answer with the error; a Starlette exception handler."""
    fault = as_fault(error)
    return JSONResponse(fault.body(), status_code=fault.status_code)
