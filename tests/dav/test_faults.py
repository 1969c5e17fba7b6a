"""The known faults of wsgidav 4 and cheroot 11, each by its name: none of them may be met here."""

import random
import socket
import threading
import time

import pytest

from mimeifs.dav import http
from tests.dav.serving import Serving, serving

X = "/webdav/x"


def test_a_cut_off_put_is_not_accepted(served: Serving) -> None:
    served.ask("PUT", X, body=b"old")
    with served.client() as client:
        client.head("PUT", X, size=100)
        client.send(b"only this")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.reply().status == 400
    assert served.ask("GET", X).body == b"old"


@pytest.mark.parametrize("whole", [True, False])
def test_a_long_body_arrives_as_it_was_sent_in_whatever_pieces(served: Serving, whole: bool) -> None:
    draw = random.Random(7)
    body, at = draw.randbytes(5 << 18), 0
    with served.client() as client:
        client.head("PUT", X, {"Content-Length": str(len(body))} if whole else {"Transfer-Encoding": "chunked"})
        while at < len(body):
            piece = body[at : at + draw.choice((1, 1000, 70_000, 600_000))]
            client.send(piece if whole else b"%x\r\n%b\r\n" % (len(piece), piece))
            at += len(piece)
        if not whole:
            client.send(b"0\r\n\r\n")
        assert client.reply().status == 201
        assert client.ask("GET", X).body == body


def test_a_cut_off_chunked_put_is_not_accepted(served: Serving) -> None:
    with served.client() as client:
        client.head("PUT", X, {"Transfer-Encoding": "chunked"})
        client.send(b"5\r\nhello\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.reply().status == 400
    assert served.ask("GET", X).status == 404


def test_put_is_atomic(served: Serving) -> None:
    served.ask("PUT", X, body=b"old")
    with served.client() as client:
        client.head("PUT", X, size=6)
        client.send(b"new")
        assert served.ask("GET", X).body == b"old"
        client.send(b"new")
        assert client.reply().status == 204
    assert served.ask("GET", X).body == b"newnew"


def test_a_destination_is_decoded_once_and_after_it_is_cut(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    for name in ("a%253Bb", "a%3Fb", "a%23b", "a%20b", "%C3%BC;1", "100%25"):
        assert served.ask("COPY", X, {"Destination": f"http://localhost:{served.address[1]}/webdav/{name}"}).status == 201
        assert served.ask("GET", f"/webdav/{name}").status == 200, name
    assert b"a%3Bb" in served.tree.root.children
    assert b"a?b" in served.tree.root.children


def test_stalled_uploads_block_nobody() -> None:
    with serving(threads=4) as served:
        clients = [served.client() for _ in range(12)]
        for client in clients:
            client.head("PUT", X, size=1000)
            client.send(b"a")
        time.sleep(0.8)  # Longer than a thread that waits is left alone.
        assert served.ask("PUT", "/webdav/y", body=b"1").status == 201
        for client in clients:
            client.close()


def test_silent_connections_hold_no_thread() -> None:
    with serving(threads=2) as served:
        clients = [served.client() for _ in range(50)]
        assert served.ask("PUT", X, body=b"1").status == 201
        time.sleep(0.8)
        assert [client.ask("GET", X).status for client in clients] == [200] * 50, "none was given up"
        for client in clients:
            client.close()


def test_many_stalled_uploads_keep_nobody_out() -> None:
    with serving(threads=32) as served:
        served.ask("PUT", X, body=b"old")
        clients = [served.client() for _ in range(300)]
        for number, client in enumerate(clients):
            client.head("PUT", f"/webdav/s{number}", size=1 << 20)
            client.send(b"a" * 1000)
        assert served.ask("GET", X).body == b"old"
        for client in clients:
            client.close()


def test_a_small_body_that_stalls_holds_no_thread() -> None:
    with serving(threads=1) as served:
        clients = [served.client() for _ in range(20)]
        for number, client in enumerate(clients):
            client.head("PUT", f"/webdav/s{number}", size=10)
            client.send(b"half ")
        chunked = served.client()
        chunked.head("PUT", "/webdav/c", {"Transfer-Encoding": "chunked"})
        chunked.send(b"5\r\nhalf ")
        assert served.ask("PUT", X, body=b"1").status == 201
        for client in clients:
            client.send(b"whole")
        chunked.send(b"\r\n5\r\nwhole\r\n0\r\n\r\n")
        assert [client.reply().status for client in (*clients, chunked)] == [201] * 21
        assert {served.ask("GET", f"/webdav/{name}").body for name in ("s0", "s19", "c")} == {b"half whole"}
        for client in (*clients, chunked):
            client.close()


def test_a_head_that_drips_holds_no_thread() -> None:
    with serving(threads=1) as served:
        clients = [served.client() for _ in range(20)]
        for client in clients:
            client.send(b"GET /webdav/ HTTP/1.1\r\nHost: loc")
        assert served.ask("PUT", X, body=b"1").status == 201
        for client in clients:
            client.send(b"alhost\r\n\r\n")
        assert [client.reply().status for client in clients] == [200] * 20
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /webdav/ HTTP/1.1\r\nHost", b"PUT /webdav/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabc"],
)
def test_waiting_ends(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(http, "IDLE_SECONDS", 0.1)
    with serving(threads=2) as served, served.client() as client:
        client.send(begun)
        assert not begun or client.reply().status == 408
        assert client.ended()
        assert served.ask("GET", X).status == 404


def test_where_much_is_held_threads_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_HELD", 0)
    with serving(threads=4) as served, served.client() as client:
        client.head("PUT", X, size=10)
        client.send(b"half ")
        assert served.ask("GET", X).status == 404
        client.send(b"whole")
        assert client.reply().status == 201


def test_requests_that_come_at_once_are_answered_in_turn(served: Serving) -> None:
    put = b"PUT /webdav/%d HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    get = b"GET /webdav/%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served.client() as client:
        client.send(b"".join(put % number + get % number for number in range(20)))
        replies = [client.reply() for _ in range(40)]
    assert [reply.status for reply in replies] == [201, 200] * 20
    assert {reply.body for reply in replies[1::2]} == {b"abc"}


def test_more_than_ten_connections_are_kept(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    clients = [served.client() for _ in range(20)]
    for _ in range(2):
        assert [client.ask("GET", X).status for client in clients] == [200] * 20
    for client in clients:
        client.close()


def test_one_large_chunk_is_not_quadratic(served: Serving) -> None:
    data = bytes(8 << 20)
    with served.client() as client:
        client.head("PUT", X, {"Transfer-Encoding": "chunked"})
        client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
        assert client.reply().status == 201
    reads = served.ask("GET", X)
    assert reads.body == data


def test_100_continue_waits_for_the_conditions(served: Serving) -> None:
    served.ask("PUT", X, body=b"old")
    with served.client() as client:
        client.head("PUT", X, {"Expect": "100-continue", "If-None-Match": "*"}, size=5)
        reply = client.reply()
        assert reply.status == 412
        assert reply["Connection"] == "close"
    with served.client() as client:
        client.head("PUT", X, {"Expect": "100-continue"}, size=5)
        assert client.reply().status == 100
        client.send(b"12345")
        assert client.reply().status == 204


def test_a_refused_body_is_dropped_and_not_kept_in_memory(served: Serving) -> None:
    with served.client() as client:
        client.head("PUT", "/webdav/none/x", size=16 << 20)
        sender = threading.Thread(target=client.send, args=(bytes(16 << 20),))
        sender.start()
        assert client.reply().status == 409
        sender.join()
        assert client.ask("GET", "/webdav/none").status == 404, "the connection goes on behind it"


def test_two_lengths_are_refused(served: Serving) -> None:
    with served.client() as client:
        client.send(b"PUT /webdav/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")
        assert client.reply().status == 400
        assert client.ended()


def test_a_length_beside_chunks_is_refused(served: Serving) -> None:
    with served.client() as client:
        client.send(
            b"PUT /webdav/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert client.reply().status == 400
        assert client.ended()


def test_a_length_that_is_no_number_is_refused(served: Serving) -> None:
    for size in ("-1", "+3", "1_0", "0x3", "", "9" * 30):
        with served.client() as client:
            client.head("PUT", X, {"Content-Length": size})
            assert client.reply().status == 400, size
    assert served.ask("GET", X).status == 404


def test_a_head_that_can_be_read_in_two_ways_is_refused(served: Serving) -> None:
    for field in (b"A : b", b" A: b", b"A: b\x00c", b"A", b"A\tb: c", b"A: b\rc", b": b"):
        with served.client() as client:
            client.send(b"GET /webdav/ HTTP/1.1\r\nHost: localhost\r\nX: y\r\n" + field + b"\r\n\r\n")
            assert client.reply().status == 400, field
            assert client.ended()


def test_an_unknown_method_is_answered_with_what_is_allowed(served: Serving) -> None:
    reply = served.ask("BREW", "/webdav/")
    assert reply.status == 405
    assert "PROPFIND" in reply["Allow"]
    for path in ("/webdav/none", "/webdav/none/none"):
        assert served.ask("BREW", path).status == 405
        assert "PUT" in served.ask("POST", path)["Allow"]


def test_attributes_that_windows_sets_are_not_forgotten(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    space = 'xmlns="urn:schemas-microsoft-com:"'
    value = f"<Win32FileAttributes {space}>00000022</Win32FileAttributes>"
    body = f'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>{value}</D:prop></D:set></D:propertyupdate>'
    assert b"HTTP/1.1 200" in served.ask("PROPPATCH", X, body=body.encode()).body
    asked = f'<D:propfind xmlns:D="DAV:"><D:prop><Win32FileAttributes {space}/></D:prop></D:propfind>'
    assert b">00000022</" in served.ask("PROPFIND", X, {"Depth": "0"}, asked.encode()).body


def test_a_display_name_can_be_set(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    body = b'<propertyupdate xmlns="DAV:"><set><prop><displayname>A name</displayname></prop></set></propertyupdate>'
    assert b"HTTP/1.1 200" in served.ask("PROPPATCH", X, body=body).body
    assert b">A name</" in served.ask("PROPFIND", X, {"Depth": "0"}).body


def test_a_protected_property_is_refused_by_its_condition(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    body = b'<propertyupdate xmlns="DAV:"><set><prop><getetag>"1"</getetag></prop></set></propertyupdate>'
    assert b"<D:error><D:cannot-modify-protected-property/></D:error>" in served.ask("PROPPATCH", X, body=body).body


def test_a_report_is_answered(served: Serving) -> None:
    served.ask("MKCOL", X)
    asked = b'<sync-collection xmlns="DAV:"><sync-token/><sync-level>1</sync-level><prop/></sync-collection>'
    assert served.ask("REPORT", X, body=asked).status == 207
    assert served.ask("REPORT", X, body=b'<unknown xmlns="DAV:"/>').status == 403


def test_a_streamed_answer_leaves_the_connection_open(served: Serving) -> None:
    with served.client() as client:
        for _ in range(3):
            reply = client.ask("PROPFIND", "/webdav/", {"Depth": "1"})
            assert (reply.status, reply["Transfer-Encoding"]) == (207, "chunked")


def test_a_head_says_no_size_that_get_would_not_have(served: Serving) -> None:
    with served.client() as client:
        head = client.ask("HEAD", "/webdav/")
        assert (head.status, "content-length" in head.headers) == (200, False)
        assert client.ask("GET", "/webdav/").status == 200, "the next answer begins where this one ended"


def test_several_ranges_come_as_several_parts(served: Serving) -> None:
    served.ask("PUT", X, body=b"0123456789")
    reply = served.ask("GET", X, {"Range": "bytes=0-1,-2"})
    assert reply.status == 206
    assert reply["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert reply.body.count(b"Content-Range: bytes ") == 2


def test_a_path_is_not_repaired(served: Serving) -> None:
    for path in ("/webdav/%2e%2e/etc", "/webdav/../x", "/webdav/a%00b", "/webdav/a%2fb", "/webdav/%zz", "/webdav/%"):
        assert served.ask("GET", path).status == 400, path
    assert served.ask("PUT", "/webdav/%ff", body=b"").status == 400
    assert served.ask("GET", "/webdav/%ff").status == 404


def test_entities_are_refused(served: Serving) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><propfind xmlns="DAV:"><prop><a>&a;</a></prop></propfind>'
    assert served.ask("PROPFIND", "/webdav/", {"Depth": "0"}, bomb).status == 400


def test_heads_have_a_bound_however_they_come(served: Serving) -> None:
    for size, status in ((60 << 10, 200), (66 << 10, 413), (120 << 10, 413), (200 << 10, 413)):
        assert served.ask("GET", "/webdav/", {"X": "y" * size}).status == status


def test_a_range_is_asked_for_once(served: Serving) -> None:
    served.ask("PUT", X, body=b"12345")
    with served.client() as client:
        client.send(b"GET /webdav/x HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n")
        assert client.reply().status == 400


def test_bodies_of_xml_have_a_bound(served: Serving) -> None:
    with served.client() as client:
        client.head("PROPFIND", "/webdav/", {"Depth": "0"}, size=1 << 30)
        assert client.reply().status == 413


def test_a_deep_if_header_is_refused_at_once(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    assert served.ask("PUT", X, {"If": "(" * 30_000}, b"2").status == 400
    assert served.ask("PUT", X, {"If": "(<a:b>)" * 5000}, b"2").status == 400
    assert served.ask("GET", X).body == b"1"


def test_who_holds_a_lock_may_write_and_who_has_lost_it_is_told_so(served: Serving) -> None:
    info = (
        b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype>'
        b"<owner><href>DESKTOP-1</href></owner></lockinfo>"
    )
    served.ask("PUT", X, body=b"1")
    token = served.ask("LOCK", X, {"Timeout": "Infinite, Second-4100000000"}, info)["Lock-Token"]
    assert served.ask("PUT", X, {"If": f"({token})"}, b"2").status == 204
    assert served.ask("LOCK", X, {"If": f"({token})"}, b"").status == 200
    moving = {"Destination": "/webdav/y", "If": f"({token})", "Overwrite": "F"}
    assert served.ask("MOVE", X, moving).status == 201
    assert served.ask("UNLOCK", "/webdav/y", {"Lock-Token": token}).status == 204
    assert served.ask("LOCK", "/webdav/y", {"If": f"({token})"}, b"").status == 412


def test_a_length_told_beside_chunks_does_not_count(served: Serving) -> None:
    for told in ("0", "3", "100", "nonsense"):
        with served.client() as client:
            client.head("PUT", X, {"Transfer-Encoding": "chunked", "X-Expected-Entity-Length": told})
            client.send(b"5\r\nhello\r\n0\r\n\r\n")
            assert client.reply().status in (201, 204)
        assert served.ask("GET", X).body == b"hello"
