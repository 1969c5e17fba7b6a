"""Bodies of XML: what they mean, and that none can do harm."""

import pytest

from mimeifs.dav import xml_in
from mimeifs.dav.status import Refusal
from mimeifs.dav.xml_in import Lockinfo, Propfind


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", Propfind()),
        (b'<propfind xmlns="DAV:"><allprop/></propfind>', Propfind()),
        (b'<a:propfind xmlns:a="DAV:"><a:propname/></a:propfind>', Propfind(names_only=True)),
        (b'<propfind xmlns="DAV:"><prop><a/><b xmlns=""/><a/></prop></propfind>', Propfind(("{DAV:}a", "{}b"))),
        (b'<propfind xmlns="DAV:"><allprop/><include><a/></include></propfind>', Propfind(include=("{DAV:}a",))),
        ('<?xml version="1.0" encoding="utf-16"?><propfind xmlns="DAV:"><allprop/></propfind>'.encode("utf-16"), Propfind()),
    ],
)
def test_propfind(body: bytes, found: Propfind) -> None:
    assert xml_in.propfind(body) == found


DEEP = b"<a>" * 100 + b"</a>" * 100
WIDE = b'<propfind xmlns="DAV:"><prop>' + b"<a/>" * 20_001 + b"</prop></propfind>"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<propfind/>", 400),
        (b'<propfind xmlns="DAV:"/>', 400),
        (b'<propfind xmlns="DAV:"><allprop/><prop/></propfind>', 400),
        (b'<propfind xmlns="DAV:"><prop><x:a xmlns:x=""/></prop></propfind>', 400),
        (b'<propfind xmlns="DAV:">', 400),
        (b"nonsense", 400),
        (b"\xff\xfe", 400),
        (b"<!DOCTYPE a><a/>", 400),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', 400),
        (b'<?xml version="1.0" encoding="none-such"?><a/>', 400),
        (DEEP, 400),
        (WIDE, 400),
        (b" " * (1 << 20) + b"<a/>", 413),
    ],
)
def test_bodies_that_are_refused(body: bytes, status: int) -> None:
    with pytest.raises(Refusal) as caught:
        xml_in.propfind(body)
    assert caught.value.status == status


def test_changes_keep_their_order_and_their_language() -> None:
    body = (
        b'<propertyupdate xmlns="DAV:"><set><prop xml:lang="de"><a xmlns="z">x<b/>y</a></prop></set>'
        b'<remove><prop><a xmlns="z"/></prop></remove></propertyupdate>'
    )
    first, second = xml_in.proppatch(body)
    assert (first.name, first.text, second.name, second.xml) == ("{z}a", "xy", "{z}a", None)
    assert first.xml is not None
    assert b'xml:lang="de"' in first.xml


def test_a_property_has_a_bound() -> None:
    value = b"x" * (xml_in.MAX_PROPERTY + 1)
    body = b'<propertyupdate xmlns="DAV:"><set><prop><a>' + value + b"</a></prop></set></propertyupdate>"
    with pytest.raises(Refusal) as caught:
        xml_in.proppatch(body)
    assert caught.value.status == 413


def test_lockinfo() -> None:
    inside = b"<lockscope><%b/></lockscope><locktype><write/></locktype>"
    found = xml_in.lockinfo(b'<lockinfo xmlns="DAV:">' + inside % b"shared" + b"</lockinfo>")
    assert found == Lockinfo(exclusive=False, owner="")
    with pytest.raises(Refusal):
        xml_in.lockinfo(b'<lockinfo xmlns="DAV:">' + inside % b"other" + b"</lockinfo>")
