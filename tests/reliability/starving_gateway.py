"""A gateway whose monitor once finds no memory: when a file ``starve`` lies where it works."""

import sys
from pathlib import Path
from unittest import mock

from runtime.gateway import app
from runtime.gateway.gateway import Gateway

original = Gateway._look


def look(self):
    if Path("starve").exists():
        Path("starve").unlink()
        raise MemoryError
    original(self)


if __name__ == "__main__":
    with mock.patch.object(Gateway, "_look", look):
        sys.exit(app.main())
