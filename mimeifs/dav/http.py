"""cheroot's server with what is wrong or slow in it replaced: heads, bodies, threads, accepting.

Known faults of the library, each with a test of its name: a repeated ``Content-Length`` counts as its last, a negative one as
any, and beside chunks as none; ``100 Continue`` is sent before anybody has looked at the request; a body nobody wants is
read into memory; a connection that says nothing holds a thread, and a TLS handshake that stalls holds everybody.
"""

import logging
import re
import select
import selectors
import socket
from time import monotonic, time
from typing import Any

from cheroot import connections, server, wsgi
from cheroot.ssl.builtin import BuiltinSSLAdapter

from mimeifs.dav.wire import Body, Inflow, Outflow, Patience
from mimeifs.dav.workers import Workers

log = logging.getLogger(__name__)

MAX_HEAD = 64 << 10
HEAD_SECONDS = 20.0
IDLE_SECONDS = 60
MAX_THREADS = 256
DRAIN_BYTES = 64 << 20
DRAIN_SECONDS = 5.0
_NAME = re.compile(rb"[!#$%&'*+\-.^`|~0-9A-Za-z]+\Z")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ONCE = {b"Content-Length", b"Transfer-Encoding", b"Host", b"Authorization", b"Destination", b"Content-Range"}
_LISTS = {b"If", b"If-Match", b"If-None-Match", b"Accept", b"Connection", b"Forwarded", b"X-Forwarded-For", b"Repr-Digest"}
_SIZE = re.compile(rb"\d{1,18}\Z")


def read_head(rfile: server.SizeCheckWrapper, found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The header fields of a request (RFC 9112, section 5). Raises ``ValueError`` for all that can be read in two ways."""
    while (line := rfile.readline()) != b"\r\n":
        if not line.endswith(b"\r\n"):
            raise ValueError("the head of the request is cut off, or a line of it does not end in CR LF")
        name, colon, value = line[:-2].partition(b":")
        if not colon or not _NAME.match(name):
            raise ValueError("a header needs a name, with neither blanks nor line folding around it")
        value = value.strip(b" \t")
        if _CONTROL.search(value):
            raise ValueError("a header holds no control characters")
        name = name.title()
        if name in found and name in _ONCE:
            raise ValueError(f"there can be only one {name.decode()}")
        found[name] = found[name] + b", " + value if name in found and name in _LISTS else value
    check_framing(found)
    return found


def check_framing(found: dict[bytes, bytes]) -> None:
    """Raise ``ValueError`` unless everybody reads the end of the body at the same place (RFC 9112, 6.3)."""
    size, coding = found.get(b"Content-Length"), found.get(b"Transfer-Encoding")
    if size is not None and not _SIZE.match(size):
        raise ValueError("Content-Length is a number")
    if coding is not None and size is not None:
        raise ValueError("a body has a Content-Length or comes in chunks, not both")
    if coding is not None and coding.lower() != b"chunked":
        raise ValueError("the only transfer coding here is chunked")


class Request(server.HTTPRequest):  # type: ignore[misc]
    """One request: parsed strictly, its body left to who wants it, its head sent together with the first of its answer."""

    expects = b""

    def parse_request(self) -> None:
        """The head, within a bound on its time as a whole."""
        flow: Inflow = self.conn.rfile
        flow.deadline = monotonic() + HEAD_SECONDS
        self.body: Body | None = None
        try:
            super().parse_request()
        finally:
            flow.deadline = 0.0

    def read_request_headers(self) -> bool:
        """As the library does, and a little stricter."""
        if not super().read_request_headers():
            self.close_connection = True
            return False
        if self.response_protocol == "HTTP/1.1" and b"Host" not in self.inheaders:
            self.simple_response("400 Bad Request", "a request of HTTP/1.1 says its Host")
            return False
        if self.expects not in (b"", b"100-continue"):
            self.simple_response("417 Expectation Failed")
            return False
        if b"close" in self.inheaders.get(b"Connection", b"").lower():
            self.close_connection = True
        return True

    def header_reader(self, rfile: server.SizeCheckWrapper, found: dict[bytes, bytes]) -> None:
        """Read the fields, and take ``Expect`` out before the library would answer it."""
        read_head(rfile, found)
        self.expects = found.pop(b"Expect", b"").lower()

    def respond(self) -> None:
        """Have the request answered, and see that the next one begins where this one ends."""
        size = None if self.chunked_read else int(self.inheaders.get(b"Content-Length", 0))
        begin = self._go_on if self.expects and self.response_protocol == "HTTP/1.1" else None
        self.body = self.rfile = Body(self.conn.rfile, size, begin)
        self.server.gateway(self).respond()
        self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")
        self.conn.wfile.flush()
        if not self.body.done and not self.body.drop(DRAIN_BYTES, DRAIN_SECONDS):
            self.close_connection = True

    def _go_on(self) -> None:
        self.conn.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send_headers(self) -> None:
        """As the library does, less reading the rest of the body first."""
        if self.body is not None and self.body.waiting:
            self.close_connection = True
        wfile, self.conn.wfile = self.conn.wfile, _Holder(self.conn.wfile)
        try:
            super().send_headers()
        finally:
            self.conn.wfile = wfile

    def write(self, chunk: bytes) -> None:
        """Send a piece of the answer."""
        if self.chunked_write and chunk:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        self.conn.wfile.write(chunk)


class _Holder:
    """Takes a head, and keeps it back."""

    def __init__(self, flow: Outflow) -> None:
        self._flow = flow

    def write(self, data: bytes) -> None:
        self._flow.hold(data)


class Connection(server.HTTPConnection):  # type: ignore[misc]
    """One connection, on ends of ours."""

    RequestHandlerClass = Request

    def __init__(self, serving: server.HTTPServer, sock: socket.socket, _makefile: object = None) -> None:
        super().__init__(serving, sock, makefile=lambda *_: None)
        self.patience = Patience()
        self.rfile = Inflow(sock, self.patience, serving.timeout)
        self.wfile = Outflow(sock, self.patience, serving.timeout)
        self.greeted = False

    def speaks_soon(self, seconds: float) -> bool:
        """Wait so long for the next request; whether there is one."""
        if self.rfile.has_data():
            return True
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def communicate(self) -> bool:
        """Answer a request; what breaks a connection, plain HTTP where TLS is spoken for instance, ends it and no more."""
        try:
            return bool(super().communicate())
        except OSError as error:
            log.debug("a connection broke: %s", error)
            return False


class Adapter(BuiltinSSLAdapter):  # type: ignore[misc]
    """TLS whose handshake is made by the thread that reads the first request."""

    def wrap(self, sock: socket.socket) -> tuple[socket.socket, dict[str, str]]:
        """The socket, not yet greeted."""
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {"wsgi.url_scheme": "https"}

    def makefile(self, *_: object) -> None:
        """Ends are made by the connection."""


class Connections(connections.ConnectionManager):  # type: ignore[misc]
    """Who is there and silent."""

    def put(self, conn: Connection) -> None:
        """Wait until it says something; it is not an idle one's turn to wait while it has data already."""
        conn.last_used = time()
        if conn.greeted and conn.rfile.has_data():
            self.server.process_conn(conn)
        else:
            conn.greeted = True
            self._selector.register(conn.socket.fileno(), selectors.EVENT_READ, data=conn)

    def _expire(self, threshold: float) -> None:
        super()._expire(threshold)
        self.server.requests.relieve()


class Server(wsgi.Server):  # type: ignore[misc]
    """The library's server, with all of the above in place."""

    ConnectionClass = Connection
    max_request_header_size = MAX_HEAD
    keep_alive_conn_limit = 4000
    _connections: Any

    def __init__(
        self, address: tuple[str, int], app: Any, threads: int = MAX_THREADS, listener: socket.socket | None = None
    ) -> None:
        super().__init__(address, app, server_name="mimeifs", request_queue_size=512, timeout=IDLE_SECONDS, shutdown_timeout=3)
        self.requests = Workers(self, threads)
        self.gateway = Gateway
        self._listener = listener

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002  # the library's names
        """Bind the address, unless a socket that listens was given."""
        if self._listener is None:
            bound: socket.socket = super().bind(family, type, proto)
            return bound
        self.socket = self._listener
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bind_addr = self.resolve_real_bind_addr(self.socket)
        return self._listener

    def prepare(self) -> None:
        """Bind and listen."""
        super().prepare()
        theirs, self._connections = self._connections, Connections(self)
        theirs._selector.close()

    def process_conn(self, conn: Connection) -> None:
        """A connection that is new waits for its first byte without a thread."""
        if conn.greeted:
            self.requests.put(conn)
        else:
            self._connections.put(conn)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """To the log of this process; what clients do to their connections is no error of ours."""
        broken = msg.startswith("socket.error")
        log.log(logging.DEBUG if broken else level, "%s", msg, exc_info=traceback and not broken)


class Gateway(wsgi.Gateway_10):  # type: ignore[misc]
    """Requests as WSGI has them. The path goes to the library as the share alone: ours is read from ``REQUEST_URI``."""

    def get_environ(self) -> dict[str, Any]:
        """The environment of one request."""
        environ: dict[str, Any] = super().get_environ()
        environ["mimeifs.target"] = self.req.uri.decode("latin-1")
        environ["mimeifs.start"] = self.start_response
        environ["PATH_INFO"] = self.server_share(environ["mimeifs.target"])
        environ["wsgidav.all_input_read"] = 1
        return environ

    @staticmethod
    def server_share(target: str) -> str:
        """``/webdav`` for all that is below it, ``/`` for all else."""
        path = target.partition("?")[0]
        return "/webdav" if path == "/webdav" or path.startswith("/webdav/") else "/"

    def write(self, chunk: bytes) -> None:
        """A piece of the answer, within the length that was announced."""
        self.req.ensure_headers_sent()
        if self.remaining_bytes_out is not None:
            self.remaining_bytes_out -= len(chunk)
            if self.remaining_bytes_out < 0:
                raise ValueError("an answer is longer than it said")
        self.req.write(chunk)
