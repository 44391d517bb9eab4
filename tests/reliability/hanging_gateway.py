"""A gateway whose engine hangs for good once a file ``hang`` lies in the working directory."""

import os
import sys
import time
from pathlib import Path
from unittest import mock

from runtime.gateway import app
from runtime.session_onnx import OnnxSession

PATIENCE = os.environ.get("HEADLIGHT_PATIENCE_S")
original = OnnxSession.run


def run(self, images):
    while Path("hang").exists():
        time.sleep(0.05)
    return original(self, images)


if __name__ == "__main__":
    with mock.patch.object(OnnxSession, "run", run):
        if PATIENCE is not None:
            from runtime.gateway import gateway

            gateway._PATIENCE_S = float(PATIENCE)
        sys.exit(app.main())
