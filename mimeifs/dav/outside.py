"""What is outside the tree: wsgidav's application, which routes and refuses, asked as WSGI (PEP 3333) wants it."""

import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from wsgidav.dav_provider import DAVProvider
from wsgidav.error_printer import ErrorPrinter
from wsgidav.request_resolver import RequestResolver
from wsgidav.wsgidav_app import WsgiDAVApp

from mimeifs.dav.exchange import Answer, Call

Outside = Callable[[Call], Answer]


class _Provider(DAVProvider):  # type: ignore[misc]
    """What the library needs to route by; it is never asked for a resource."""

    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> None:
        """Nothing: whatever is below the prefix was answered before."""


def outside(prefix: str) -> Outside:
    """Who answers for all addresses that are not below ``prefix``."""
    config = {
        "provider_mapping": {prefix: _Provider()},
        "middleware_stack": [ErrorPrinter, RequestResolver],
        "lock_storage": None,
        "property_manager": None,
        "verbose": 0,
        "logging": {"enable": False},
        "http_authenticator": {"accept_basic": False},
    }
    app = WsgiDAVApp(config)
    return lambda call: _asked(app, call)


def _asked(app: Callable[..., Iterable[bytes]], call: Call) -> Answer:
    told: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
        told.append((status, headers))

    body = b"".join(app(_environ(call), start))
    status, headers = told[-1]
    kept = [(name, value) for name, value in headers if name.lower() not in ("content-length", "date", "server", "connection")]
    return Answer(int(status[:3]), kept, body)


def _environ(call: Call) -> dict[str, Any]:
    """A request without its body: nothing outside takes one."""
    path, _, query = call.target.partition("?")
    named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in call.headers.items()}
    return {
        **named,
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "",
        "SERVER_PROTOCOL": call.protocol,
        "REMOTE_ADDR": call.address,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": call.scheme,
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgidav.all_input_read": 1,
    }
