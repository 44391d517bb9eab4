"""Entry point of ``python -m train.audit``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
