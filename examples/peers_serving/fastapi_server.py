"""What somebody writes who serves a classifier with FastAPI: an engine's session behind endpoints.

To compare the gateway with; see README.md. It knows nothing of Headlight: the labels and the size
of the input are read from the artifact's JSON, and nothing is checked.

    ARTIFACT=artifacts/plates uvicorn fastapi_server:app --port 8102
"""

import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import Body, FastAPI, Request, Response, UploadFile
from pydantic import BaseModel

ARTIFACT = Path(os.environ["ARTIFACT"])
MANIFEST = json.loads((ARTIFACT / "artifact.json").read_text("utf-8"))
HEADS = {head["name"]: head["labels"] for head in MANIFEST["schema"]["heads"]}
READING = MANIFEST["schema"]["readings"][0]
HEIGHT, WIDTH = MANIFEST["input"]["height"], MANIFEST["input"]["width"]
ENGINE_FILE = str(ARTIFACT / MANIFEST["engine_file"])

Scores = Sequence[np.ndarray]


class Head(BaseModel):
    """What one head says."""

    label: str
    confidence: float


class Plate(BaseModel):
    """What is said of one crop."""

    text: str
    confidence: float
    heads: dict[str, Head]


def _onnx() -> Callable[[np.ndarray], Scores]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(ENGINE_FILE, options)  # any thread may call it
    return lambda image: session.run([*HEADS], {"image": image[None]})


def _openvino() -> Callable[[np.ndarray], Scores]:
    import openvino

    # f32, because some CPUs would compute in bfloat16, which answers otherwise.
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    model = core.read_model(ENGINE_FILE)
    model.reshape([1, HEIGHT, WIDTH, 3])
    compiled = core.compile_model(model, "CPU", settings)
    outputs = [compiled.output(name) for name in HEADS]
    ours = threading.local()  # an infer request is for one thread at a time

    def run(image: np.ndarray) -> Scores:
        if not hasattr(ours, "request"):
            ours.request = compiled.create_infer_request()
        scores = ours.request.infer([image[None]])
        return [scores[output] for output in outputs]

    return run


score: Callable[[np.ndarray], Scores] = {"onnx": _onnx, "openvino": _openvino}[MANIFEST["engine"]]()
app = FastAPI()


def preprocess(data: bytes) -> np.ndarray:
    """Decode a picture and bring it to the network's size, as in training."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    shrinks = image.shape[0] > HEIGHT and image.shape[1] > WIDTH
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=method)


def decode(scores: Scores) -> Plate:
    """Take the best label of every head."""
    heads = {}
    for (name, labels), logits in zip(HEADS.items(), scores, strict=True):
        shares = np.exp(logits[0] - logits[0].max())
        shares /= shares.sum()
        best = int(shares.argmax())
        heads[name] = Head(label=labels[best], confidence=float(shares[best]))
    letters = [heads[name] for name in READING["heads"]]
    return Plate(
        text="".join(letter.label for letter in letters if letter.label != READING["blank"]),
        confidence=float(np.prod([letter.confidence for letter in letters])),
        heads=heads,
    )


@app.post("/read")
def read(picture: Annotated[bytes, Body(media_type="image/jpeg")]) -> Plate:
    """Read a JPEG body in a thread of the pool."""
    return decode(score(preprocess(picture)))


@app.post("/read-async")
async def read_async(request: Request) -> Plate:
    """Read a JPEG body in the event loop."""
    return decode(score(preprocess(await request.body())))


@app.post("/upload")
def upload(file: UploadFile) -> Plate:
    """Read an uploaded file, as the tutorial does."""
    return decode(score(preprocess(file.file.read())))


@app.post("/pixels")
async def pixels(request: Request) -> Response:
    """Score pixels at the network's size: bytes in, the logits of all heads as float32 out."""
    image: Any = np.frombuffer(await request.body(), np.uint8).reshape(HEIGHT, WIDTH, 3)
    content = b"".join(part.tobytes() for part in score(image))
    return Response(content, media_type="application/octet-stream")
