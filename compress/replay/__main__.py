"""``python -m compress.replay``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
