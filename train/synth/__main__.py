"""Entry point of ``python -m train.synth``."""

from .cli import main

# Worker processes import this module again; only the command itself may start one.
if __name__ == "__main__":
    raise SystemExit(main())
