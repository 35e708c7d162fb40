"""FastAPI and uvicorn with no queue: a request is computed where it arrives (side: library).

`uvicorn serve_fastapi:app --workers N`, with uvloop and httptools, as FastAPI's page on server workers has it.
"""

from typing import Annotated

from engine import Engine
from fastapi import Depends, FastAPI, Request, Response

engine = Engine()
app = FastAPI()


async def raw_body(request: Request) -> bytes:
    return await request.body()


@app.post("/predict")
async def predict(body: Annotated[bytes, Depends(raw_body)]) -> Response:
    return Response(repr(engine.scores([body])[0]).encode(), media_type="application/json")
