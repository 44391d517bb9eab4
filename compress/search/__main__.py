"""Entry point of ``python -m compress.search``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
