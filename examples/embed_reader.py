"""Embed the reader in a program of your own, without the gateway: python embed_reader.py ARTIFACT.

Paths of pictures come on stdin, one a line; answers go to stdout as JSON lines.
"""

import json
import sys
from pathlib import Path

from runtime import HeadlightError, QueueOptions, Reader
from runtime.preprocess import load_image


def main(artifact: str) -> None:
    """Answer every path until stdin ends; a queue with lanes is at hand for many threads."""
    queue = QueueOptions(capacity=32, on_full="drop_oldest", deadline_ms=200)
    with Reader.open(artifact, threads=1, queue=queue) as reader:
        for path in map(str.strip, sys.stdin):
            try:
                answer = reader.submit(load_image(Path(path)), tag=path).result()
                said = {"text": answer.text, "accepted": answer.accepted}
            except HeadlightError as error:  # a bad picture, a failing engine, too late
                said = {"error": str(error)}
            print(json.dumps({"picture": path, **said}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
