"""JSON through FastAPI: what most applications put between the server and their own code."""

from __future__ import annotations

from fastapi import FastAPI

__all__ = ["app"]

app = FastAPI()


@app.get("/")
async def answer() -> dict[str, str | list[int]]:
    """The same each time, serialised each time."""
    return {"message": "Hello, world!", "items": [1, 2, 3]}
