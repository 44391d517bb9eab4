"""``python -m compress.layer_costs``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
