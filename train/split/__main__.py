"""Entry point of ``python -m train.split``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
