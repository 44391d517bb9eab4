"""The reference gateway: cameras in, events out; ``python -m runtime.gateway.app gateway.toml``.

Importing this package imports none of its parts: each needs packages of its own (extras ``gateway``
and ``video``).
"""

__all__: list[str] = []
