"""Live properties, each as the document that defines it has it, over the tree in memory."""

import re
import xml.etree.ElementTree as ET
from datetime import datetime

from msgspec import structs

from mimeifs.dav.interface import Guard
from mimeifs.ids import BlobId
from mimeifs.store.content import ContentKind, ContentRef
from tests.dav.serving import Reply, Serving, statuses

D, W = "{DAV:}", "{urn:schemas-microsoft-com:}"
X, C = "/webdav/x", "/webdav/c/"
SPACES = 'xmlns="DAV:" xmlns:w="urn:schemas-microsoft-com:" xmlns:oc="http://owncloud.org/ns"'
WHEN = "Sun, 06 Nov 1994 08:49:37 GMT"
LOCK = b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype><owner>me</owner></lockinfo>'


def find(served: Serving, path: str, *names: str) -> ET.Element:
    body = f"<propfind {SPACES}><prop>{''.join(f'<{name}/>' for name in names)}</prop></propfind>"
    reply = served.ask("PROPFIND", path, {"Depth": "0"}, body.encode())
    for stat in ET.fromstring(reply.body)[0].findall(D + "propstat"):
        if " 200 " in stat.findtext(D + "status", ""):
            return stat.find(D + "prop")
    return ET.Element("none")


def patch(served: Serving, path: str, inside: str, how: str = "set") -> Reply:
    body = f"<propertyupdate {SPACES}><{how}><prop>{inside}</prop></{how}></propertyupdate>"
    return served.ask("PROPPATCH", path, body=body.encode())


def test_displayname_is_the_name_until_another_is_set(served: Serving) -> None:
    """RFC 4918, 15.2: not protected, and kept by COPY and MOVE."""
    served.ask("PUT", X, body=b"1")
    assert find(served, X, "displayname").findtext(D + "displayname") == "x"
    assert statuses(patch(served, X, '<displayname xml:lang="en">A &lt;name&gt;</displayname>')) == [200]
    served.ask("COPY", X, {"Destination": "/webdav/y"})
    served.ask("MOVE", X, {"Destination": "/webdav/z"})
    for path in ("/webdav/y", "/webdav/z"):
        found = find(served, path, "displayname").find(D + "displayname")
        assert (found.text, found.get("{http://www.w3.org/XML/1998/namespace}lang")) == ("A <name>", "en")
    listed = served.ask("PROPFIND", "/webdav/", {"Depth": "1"}).body
    assert listed.count(b"A &lt;name&gt;") == 2
    assert listed.count(b"displayname") == 2 * 2 + 1, "and of the collection itself"
    assert statuses(patch(served, "/webdav/z", "<displayname/>", "remove")) == [200]
    assert find(served, "/webdav/z", "displayname").findtext(D + "displayname") == "z"


def test_displayname_is_told_once_to_who_asks_for_everything(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    patch(served, X, "<displayname>A</displayname>")
    names = b'<propfind xmlns="DAV:"><propname/></propfind>'
    for body in (b"", names):
        assert len(re.findall(rb"<\w+:displayname[ >/]", served.ask("PROPFIND", X, {"Depth": "0"}, body).body)) == 1


def test_what_windows_sets_comes_back(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    later = WHEN.replace("1994", "1995").replace("Sun", "Mon")
    inside = (
        f"<w:Win32CreationTime>{WHEN}</w:Win32CreationTime><w:Win32LastAccessTime>{later}</w:Win32LastAccessTime>"
        f"<w:Win32LastModifiedTime>{WHEN}</w:Win32LastModifiedTime><w:Win32FileAttributes>00000023</w:Win32FileAttributes>"
    )
    assert statuses(patch(served, X, inside)) == [200]
    names = ("Win32CreationTime", "Win32LastAccessTime", "Win32LastModifiedTime", "Win32FileAttributes")
    found = find(served, X, *(f"w:{name}" for name in names))
    assert [found.findtext(W + name) for name in names] == [WHEN, later, WHEN, "00000023"]
    body = served.ask("PROPFIND", X, {"Depth": "0"}).body
    assert b">00000023<" in body, "whoever asks for everything hears what was set"
    assert b"Win32CreationTime" not in body


def test_attributes_of_windows_say_what_it_is_before_they_are_set_and_after(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    served.ask("MKCOL", C)
    for path, before, value, after in ((X, "00000020", "12", "00000002"), (C, "00000010", "2", "00000012")):
        assert find(served, path, "w:Win32FileAttributes").findtext(W + "Win32FileAttributes") == before
        assert statuses(patch(served, path, f"<w:Win32FileAttributes>{value}</w:Win32FileAttributes>")) == [200]
        assert find(served, path, "w:Win32FileAttributes").findtext(W + "Win32FileAttributes") == after


def test_a_value_that_makes_no_sense_is_a_conflict(served: Serving) -> None:
    """RFC 4918, 9.2.1; what may be set, and not to that, is no protected property."""
    served.ask("PUT", X, body=b"1")
    for name, value in (
        ("Win32FileAttributes", "hidden"),
        ("Win32FileAttributes", "123456789"),
        ("Win32FileAttributes", "-1"),
        ("Win32LastAccessTime", "yesterday"),
        ("Win32LastModifiedTime", ""),
    ):
        reply = patch(served, X, f"<a/><w:{name}>{value}</w:{name}>")
        assert statuses(reply) == [424, 409], (name, value)
        assert b"cannot-modify" not in reply.body
    assert served.tree.look((b"x",), properties=True).properties == {}


def test_creationdate_can_be_set(served: Serving) -> None:
    """RFC 4918, 15.1: a date of RFC 3339; SHOULD be protected, and is not, for clients that keep times."""
    served.ask("PUT", X, body=b"1")
    assert datetime.fromisoformat(find(served, X, "creationdate").findtext(D + "creationdate")).tzinfo is not None
    assert statuses(patch(served, X, "<creationdate>1997-12-01T17:42:21-08:00</creationdate>")) == [200]
    assert find(served, X, "creationdate").findtext(D + "creationdate") == "1997-12-02T01:42:21Z"


def test_locks_that_can_be_had_and_are_held(served: Serving) -> None:
    """RFC 4918, 15.8 and 15.10."""
    served.ask("PUT", X, body=b"1")
    supported = find(served, X, "supportedlock").find(D + "supportedlock")
    scopes = [entry.find(D + "lockscope")[0].tag for entry in supported]
    assert scopes == [D + "exclusive", D + "shared"]
    assert {entry.find(D + "locktype")[0].tag for entry in supported} == {D + "write"}
    assert len(find(served, X, "lockdiscovery").find(D + "lockdiscovery")) == 0
    token = served.ask("LOCK", X, {"Timeout": "Second-100", "Depth": "0"}, LOCK)["Lock-Token"][1:-1]
    lock = find(served, X, "lockdiscovery").find(f"{D}lockdiscovery/{D}activelock")
    assert lock.findtext(f"{D}locktoken/{D}href") == token
    assert lock.findtext(f"{D}lockroot/{D}href") == X
    assert (lock.findtext(D + "depth"), lock.findtext(D + "owner")) == ("0", "me")
    assert re.fullmatch(r"Second-\d+", lock.findtext(D + "timeout"))
    assert (lock.find(D + "lockscope")[0].tag, lock.find(D + "locktype")[0].tag) == (D + "exclusive", D + "write")
    served.ask("UNLOCK", X, {"Lock-Token": f"<{token}>"})
    for name in ("lockdiscovery", "supportedlock", "resourcetype", "getcontentlength", "quota-used-bytes"):
        assert 403 in statuses(patch(served, X, f"<{name}/>")), name


def test_room_is_a_property_of_collections(served: Serving) -> None:
    """RFC 4331, 3 and 4: bytes, and protected."""
    served.ask("PUT", X, body=b"12345")
    served.tree.room = 1000
    found = find(served, "/webdav/", "quota-used-bytes", "quota-available-bytes")
    assert [child.text for child in found] == ["5", "1000"]
    assert len(find(served, X, "quota-used-bytes", "quota-available-bytes")) == 0


def test_a_digest_that_names_the_bytes_is_told(served: Serving) -> None:
    served.ask("PUT", X, body=b"1")
    assert len(find(served, X, "oc:checksums")) == 0
    look = served.tree.look
    content = ContentRef(ContentKind.BLOB, BlobId(bytes(range(32))), 1)
    served.tree.look = lambda path, *, properties=False: structs.replace(look(path, properties=properties), content=content)
    found = find(served, X, "oc:checksums")
    assert [each.text for each in found.iter("{http://owncloud.org/ns}checksum")] == ["BLAKE3:" + bytes(range(32)).hex()]


def test_a_version_keeps_what_was_set(served: Serving) -> None:
    served.tree.mkdir((b"m",), Guard())
    served.tree.mkdir((b"m", b"@cur"), Guard())
    served.tree.replace((b"m", b"@cur", b"f"), Guard(), b"1", None)
    patch(served, "/webdav/m/@cur/f", "<displayname>Then</displayname>")
    served.tree.mkdir((b"m", b"@1"), Guard())
    patch(served, "/webdav/m/@cur/f", "<displayname>Now</displayname>")
    assert find(served, "/webdav/m/@1/f", "displayname").findtext(D + "displayname") == "Then"
