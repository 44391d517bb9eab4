"""The gateway over HTTP: KServe v2, a page for people, metrics; docs/gateway-http.md.

Needs the extra ``gateway``.
"""

from importlib.util import find_spec

from runtime.errors import MissingExtraError

__all__: list[str] = []

for _package in ("msgspec", "starlette", "uvicorn", "prometheus_client"):
    if find_spec(_package) is None:
        raise MissingExtraError(
            f"serving needs the package {_package!r}; run: pip install 'headlight[gateway]'"
        )
