"""HTTP/1.1 over cheroot's listening loop: connections that hold no thread before a whole request is there.

What a connection receives is taken in without waiting; while its head, or a small body, is not whole, it waits in the listening
loop beside those that are idle, at the cost of what it has sent. Then a thread answers. The body of a large upload is received
by that thread, which whoever else needs one may take away again (``workers``).

What of the library is replaced, because each was wrong or slow: a repeated ``Content-Length`` counts as its last, a negative
one as any, and beside chunks as none; ``100 Continue`` is sent before anybody has looked at the request; a body nobody wants is
read into memory; a connection that says nothing holds a thread, and a TLS handshake that stalls holds everybody.
"""

import logging
import select
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time
from typing import Any

from cheroot import connections, server
from cheroot.ssl.builtin import BuiltinSSLAdapter

from mimeifs.dav import heads
from mimeifs.dav.exchange import Answer, Call
from mimeifs.dav.heads import MAX_HEAD, Head
from mimeifs.dav.status import Refusal
from mimeifs.dav.wire import Body, Inflow, Outflow, Patience, not_now, speaks_tls
from mimeifs.dav.workers import Allowance, Workers
from mimeifs.store.pages import Pages

log = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
IDLE_SECONDS = 60
ALERT_SECONDS = 100e-6
"""How long to look out for the next request: waking up takes as long as a small answer."""
MOST_ASLEEP = 32
"""How many requests of a client who is never that quick are waited for asleep, before it is tried again."""
MAX_THREADS = 256
MAX_HELD = 32 << 20
"""Bytes of requests that are not whole, of all connections together; beyond that, threads wait for the rest."""
DRAIN_BYTES = 64 << 20
DRAIN_SECONDS = 5.0
_HANDSHAKE = b"\x16"
"""The first byte of whoever speaks TLS (RFC 8446, 5.1)."""

Respond = Callable[[Call], Answer]


class Connection(server.HTTPConnection):  # type: ignore[misc]
    """One connection. ``partial`` while something of a request is there and the rest is not."""

    def __init__(self, serving: "Server", sock: socket.socket, _makefile: object = None) -> None:
        super().__init__(serving, sock, makefile=lambda *_: None)
        sock.setblocking(False)
        self.patience = Patience()
        self.rfile = Inflow(sock, self.patience, serving.timeout)
        self.wfile = Outflow(sock, self.patience, serving.timeout)
        self.partial = speaks_tls(sock)
        self.until = monotonic() + (HEAD_SECONDS if self.partial else IDLE_SECONDS)
        """When waiting in the listening loop ends."""
        self.held = 0
        self._greeting, self._heard = self.partial, False
        self._head: Head | None = None
        self._poll: select.poll | None = None
        self._in_vain = self._asleep = 0
        """How often in a row the thread has looked out in vain, and how many requests to wait for without doing so."""
        self._admitted = False
        self._scheme = "https" if self.partial else "http"

    def speaks_soon(self, seconds: float, *, alert: bool = False) -> bool:
        """Wait so long for the next request; whether there is one. ``alert``: where nobody else wants the processor, look out
        for it a moment before sleeping."""
        if self.partial:
            return False
        if self.rfile.has_data():
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.socket.fileno(), select.POLLIN)
        return (alert and self._comes_at_once(self._poll)) or bool(self._poll.poll(seconds * 1000))

    def _comes_at_once(self, poll: select.poll) -> bool:
        """Look out for the next request, if this client has lately been quick enough for it to be worth while."""
        if self._asleep:
            self._asleep -= 1
            return False
        end = monotonic() + ALERT_SECONDS
        while monotonic() < end:
            if poll.poll(0):
                self._in_vain = 0
                return True
        self._asleep = min(2**self._in_vain, MOST_ASLEEP)
        self._in_vain += 1
        return False

    def communicate(self) -> bool | None:
        """Answer a request, if nobody needs to wait for more of it; whether the connection stays, None where it waits for its
        turn to be received."""
        try:
            if not self._arrived():
                return True
            if not self._admitted and self._is_upload():
                self._admitted = True
                if not self.server.requests.may_receive(self):
                    return None
            try:
                return self._answered()
            finally:
                if self._admitted:
                    self._admitted = False
                    self.server.requests.received()
        except Refusal as refusal:
            self._refuse(refusal)
        except TimeoutError:
            self._refuse(Refusal(408, "the request did not come in time"))
        except OSError as error:
            log.debug("a connection broke: %s", error)
        return False

    # Receiving

    def _arrived(self) -> bool:
        """Take in what there is; whether nobody needs to wait in the listening loop for more of a request."""
        if self._greeting and not self._greeted():
            return False
        while not self._is_whole():
            if self.rfile.late or self.rfile.ended or self.server.held.is_used_up:
                return True
            if not self.rfile.receive():
                self._wait()
                return False
        return True

    def _is_whole(self) -> bool:
        data, at = self.rfile.waiting()
        if self._head is None:
            if not data:
                return False
            found = self.rfile.head()
            if found is None:
                return len(data) - at > MAX_HEAD
            if len(found) > MAX_HEAD:
                raise _too_long()
            self._head = heads.parse(found)
            data, at = self.rfile.waiting()
        return heads.is_there(self._head, data, at)

    def _is_upload(self) -> bool:
        """Whether a thread is to receive the body."""
        head = self._head
        return head is not None and head.size != 0 and not heads.has_come(head, *self.rfile.waiting())

    def _wait(self) -> None:
        """Say for what, and how long, it is to wait in the listening loop."""
        data, at = self.rfile.waiting()
        begun = self._head is not None or at < len(data)
        if self._head is not None or not begun:
            self.until = monotonic() + IDLE_SECONDS
        elif not self.partial:
            self.until = monotonic() + HEAD_SECONDS  # Of a head as a whole, however slowly it drips.
        self.partial = begun

    def _greeted(self) -> bool:
        """Go on with the handshake of TLS; whether it is done."""
        try:
            if not self._heard:
                first = socket.socket.recv(self.socket, 1, socket.MSG_PEEK)
                if first and first != _HANDSHAKE:
                    raise Refusal(400, "this port speaks TLS: the address begins with https://, not http://")
                self._heard = True
            self.socket.do_handshake()
        except OSError as error:
            if not not_now(error):
                raise
            if self.rfile.late:
                raise TimeoutError("the handshake took too long") from None
            return False
        self._greeting = self.partial = False
        return True

    def _received_head(self) -> Head | None:
        """The head of the request, waited for by this thread where nobody else may; None where the client has gone."""
        self.rfile.deadline = monotonic() + HEAD_SECONDS
        while self._head is None:
            data, at = self.rfile.waiting()
            if len(data) - at > MAX_HEAD:
                raise _too_long()
            if self.rfile.ended:
                if at < len(data):
                    raise Refusal(400, "the head of the request is cut off, or a line of it does not end in CR LF")
                return None
            self.rfile.receive_more()
            self._is_whole()
        self.rfile.deadline = 0.0
        found, self._head = self._head, None
        return found

    # Answering

    def _answered(self) -> bool:
        """Have the request answered, and see that the next one begins where this one ends; whether there can be one."""
        head = self._received_head()
        self.partial = False
        if head is None:
            return False
        body = Body(self.rfile, head.size, self._go_on if "expect" in head.fields else None)
        call = Call(head.method, head.target, head.protocol, head.fields, body, self._scheme, self.remote_addr or "")
        answer = self.server.respond(call)
        try:
            stays = self._sent(head, body, answer)
        finally:
            if not isinstance(answer.body, bytes):
                answer.close()
        return (body.done or body.drop(DRAIN_BYTES, DRAIN_SECONDS)) and stays

    def _go_on(self) -> None:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _sent(self, head: Head, body: Body, answer: Answer) -> bool:
        """Send it, the head together with the first of its body; whether the connection can stay."""
        last = not head.stays or body.waiting or answer.status == 413
        content = answer.body if answer.has_body and head.method != "HEAD" else b""
        if isinstance(content, bytes):
            self.wfile.write(self._begin(head, answer, last, chunked=False) + content)
            return not last
        size = answer.size
        chunked = size is None and head.protocol == "HTTP/1.1"
        last = last or (size is None and not chunked)
        before, sent = self._begin(head, answer, last, chunked=chunked), 0
        for piece in content:
            if not piece:
                continue  # Of chunks, an empty one is the last.
            sent += len(piece)
            if size is not None and sent > size:
                raise ConnectionError("an answer is longer than it said")
            if chunked:
                data = piece.read() if isinstance(piece, Pages) else piece
                self.wfile.write(b"".join((before, b"%x\r\n" % len(data), data, b"\r\n")))
            elif isinstance(piece, Pages) or len(piece) > SMALL:
                self.wfile.write(before)
                self.wfile.write(piece)
            else:
                self.wfile.write(before + piece if before else piece)
            before = b""
        self.wfile.write(before + (b"0\r\n\r\n" if chunked else b""))
        if size is not None and sent < size:
            raise ConnectionError("an answer is shorter than it said")
        return not last

    def _begin(self, head: Head, answer: Answer, last: bool, *, chunked: bool) -> bytes:
        fields = [*answer.headers, ("Transfer-Encoding", "chunked")] if chunked else answer.headers
        if not last and head.protocol == "HTTP/1.0":
            fields = [*fields, ("Connection", "keep-alive")]
        return heads.answer(answer.status, fields, last=last)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, and hang up; over TLS that never was, in plain words."""
        kind, text = refusal.body()
        told = heads.answer(refusal.status, [("Content-Type", kind), ("Content-Length", str(len(text)))], last=True) + text
        with suppress(OSError):
            if self._greeting and refusal.status == 400:
                socket.socket.send(self.socket, told)
            elif not self._greeting:
                self.wfile.write(told)
            # What was sent and not read would have the answer thrown away with the connection.
            socket.socket.shutdown(self.socket, socket.SHUT_WR)
            while socket.socket.recv(self.socket, MAX_HEAD):
                pass


SMALL = 32 << 10
"""Pieces up to so many bytes are copied behind the head, to leave in one packet."""


def _too_long() -> Refusal:
    return Refusal(413, f"the head of a request has at most {MAX_HEAD} bytes")


class Adapter(BuiltinSSLAdapter):  # type: ignore[misc]
    """TLS whose handshake is made, step by step, when something has come."""

    def wrap(self, sock: socket.socket) -> tuple[socket.socket, dict[str, str]]:
        """The socket, not yet greeted."""
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {"wsgi.url_scheme": "https"}

    def makefile(self, *_: object) -> None:
        """Ends are made by the connection."""


class Connections(connections.ConnectionManager):  # type: ignore[misc]
    """Who is there and silent, or has not said all."""

    def put(self, conn: Connection) -> None:
        """Wait until it says more; it is no idle one's turn to wait while it has data already."""
        conn.last_used = time()
        if not conn.partial and conn.rfile.has_data():
            self.server.requests.put(conn)
            return
        if not conn.partial:
            conn.until = monotonic() + IDLE_SECONDS
        data, at = conn.rfile.waiting()
        conn.held = self.server.held.take(len(data) - at)
        self._selector.register(conn.socket.fileno(), selectors.EVENT_READ, data=conn)

    def _expire(self, threshold: float) -> None:
        """Hang up on the idle; have those answered that took too long over a request."""
        now = monotonic()
        late = [(fd, conn) for fd, conn in self._selector.connections if conn is not self.server and conn.until < now]
        for fd, conn in late:
            self._selector.unregister(fd)
            conn.rfile.late = True
            if conn.partial:
                self.server.process_conn(conn)
            else:
                conn.close()
        self.server.requests.relieve()


class Server(server.HTTPServer):  # type: ignore[misc]
    """The library's server, with all of the above in place. ``respond`` answers from any thread, and raises nothing."""

    ConnectionClass = Connection
    keep_alive_conn_limit = 4000
    _connections: Any

    def __init__(
        self, address: tuple[str, int], respond: Respond, threads: int = MAX_THREADS, listener: socket.socket | None = None
    ) -> None:
        super().__init__(address, None, server_name="mimeifs")
        self.request_queue_size, self.timeout, self.shutdown_timeout = 512, IDLE_SECONDS, 3
        self.requests = Workers(self, threads)
        self.respond = respond
        self.held = Allowance(MAX_HELD)
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
        """Something has come, or a connection is new, and waits for its first byte without a thread."""
        if conn.last_used is None:
            self._connections.put(conn)
            return
        self.held.give_back(conn.held)
        conn.held = 0
        self.requests.put(conn)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """To the log of this process; what clients do to their connections is no error of ours."""
        broken = msg.startswith("socket.error")
        log.log(logging.DEBUG if broken else level, "%s", msg, exc_info=traceback and not broken)
