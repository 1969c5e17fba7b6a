"""Access control lists on a real mount: whatever is done, the disk's own file system and ours answer the same.

Each case is a row of steps, done by root or by somebody else, once on the disk and once on the mount; what the commands
say, how they end, and what the tree then is, must be equal.
"""

import errno
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mimeifs.model.acl import ACCESS, DEFAULT, Rule, Tag, encode
from tests.e2e.comparing import differences
from tests.fuse.system_calls import refused
from tests.serving import Served, serving

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else"),
    pytest.mark.skipif(shutil.which("setfacl") is None, reason="needs the package acl"),
]
LIST = encode((Rule(Tag.OWNER, 7), Rule(Tag.USER, 5, 1001), Rule(Tag.GROUP_OWNER, 4), Rule(Tag.MASK, 5), Rule(Tag.OTHER, 0)))
_numbers = count(1)

Step = tuple[int, str]
"""Who does it, by number (of the user and the only group), and the shell command."""

CASES: dict[str, list[Step]] = {
    "a named user is let in and nobody else": [
        (0, "echo secret > f; chmod 600 f; setfacl -m u:1001:r f; getfacl -cn f; stat -c %a f"),
        (1001, "cat f"),
        (1001, "echo more >> f"),
        (1002, "cat f"),
    ],
    "a named group is let in, and the mask takes away": [
        (0, "echo secret > f; chmod 600 f; setfacl -m g:1002:rw f"),
        (1002, "echo more >> f; cat f"),
        (0, "setfacl -m m::r f; getfacl -cn f; stat -c %a f"),
        (1002, "cat f"),
        (1002, "echo more >> f"),
    ],
    "a list can take away what the mode would give": [
        (0, "echo open > f; chmod 644 f; setfacl -m u:1001:0 f; ls -l f | cut -c1-11"),
        (1001, "cat f"),
        (1002, "cat f"),
    ],
    "chmod changes the mask and never the named": [
        (0, "touch f; setfacl -m u:1001:rwx,g:1002:rx f"),
        (0, "chmod 640 f; getfacl -cn f; stat -c %a f"),
        (0, "chmod 4777 f; getfacl -cn f; stat -c %a f"),
        (0, "chmod 000 f; getfacl -cn f; stat -c %a f"),
        (1001, "cat f"),
    ],
    "without a mask rule the group class is the group": [
        (0, "touch f d; setfacl --set u::rw,g::r,o::- f; getfacl -cn f; stat -c %a f; getfattr -d -m - f"),
        (0, "setfacl -n -m u:1001:rwx f; getfacl -cn f; stat -c %a f"),
    ],
    "a list that is a mode is not kept": [
        (0, "touch f; setfacl -m u:1001:rwx f; chmod 4711 f; setfacl -b f; stat -c %a f; getfattr -d -m - f"),
        (0, "setfacl --set u::rwx,g::rx,o::x f; stat -c %a f; getfattr -d -m - f"),
    ],
    "what is made inherits": [
        (0, "mkdir d; setfacl -m u:1001:rwx,d:u:1001:rwx,d:g:1002:rx,d:o::- d; getfacl -cn d"),
        (0, "umask 077; touch d/f; mkdir d/sub; mkfifo d/pipe; ln -s f d/link; mknod d/null c 1 3; : > d/new"),
        (0, "install -m 751 /dev/null d/program; mkdir -m 700 d/mine; cd d; getfacl -cn *; stat -c '%a %n' *"),
        (0, "getfattr -dh -m - d/link; touch d/sub/deep; getfacl -cn d/sub/deep"),
        (1001, "echo x >> d/f; cat d/f; touch d/sub/other; getfacl -cn d/sub/other; stat -c '%a %u %g' d/sub/other"),
        (1002, "cat d/f; touch d/other"),
    ],
    "without a default list the umask counts": [
        (0, "umask 027; mkdir d; touch d/f; mkfifo d/p; mknod d/null c 1 3; mkdir d/d; cd d; stat -c '%a %n' . *"),
        (0, "umask 0; touch d/g; mkdir d/e; cd d; stat -c '%a %n' *; getfattr -d -m - *"),
        (0, "setfacl -m u:1001:rwx d; umask 022; touch d/h; stat -c %a d/h; getfacl -cn d/h"),
    ],
    "a default list that is a mode is kept and gives modes": [
        (0, "mkdir d; setfacl -d -m u::rwx,g::r,o::x d; getfacl -cn d; umask 0; touch d/f; mkdir d/e"),
        (0, "cd d; getfacl -cn f e; stat -c '%a %n' f e; getfattr -d -m - f"),
    ],
    "a default list does not decide about the directory itself": [
        (0, "mkdir -m 700 d; setfacl -d -m u:1001:rwx d; getfacl -cn d; stat -c %a d"),
        (1001, "ls d"),
        (0, "setfacl -k d; getfacl -cn d; getfattr -d -m - d; setfacl -k d"),
    ],
    "only the owner and root set lists": [
        (0, "touch f; chown 1001:1001 f; chmod 666 f; mkdir d; chmod 777 d; touch g"),
        (1001, "setfacl -m u:1002:r f; getfacl -n f"),
        (1002, "setfacl -m u:1002:rw f"),
        (1002, "setfacl -b f"),
        (1001, "setfacl -m u:1001:rw g"),
        (1002, "setfacl -d -m u:1002:rwx d"),
        (1001, "setfacl -x u:1002 f; getfacl -cn f; setfacl -x m f; getfacl -cn f; getfattr -d -m - f"),
    ],
    "lists are refused where there can be none": [
        (0, "touch f; ln -s f s; setfacl -d -m u:1001:r f"),
        (0, "setfattr -h -n system.posix_acl_access -v 0x02000000 s"),
        (0, "setfattr -n system.posix_acl_access -v 0x0300000001000700ffffffff f"),
        (0, "setfattr -n system.posix_acl_access -v 0x02000000010007 f"),
        (0, "setfattr -n system.posix_acl_access -v 0x0200000001000700ffffffff f"),
        (0, "setfattr -n system.posix_acl_access -v 0x0200000001000f00ffffffff04000700ffffffff20000700ffffffff f"),
        (0, "setfattr -n system.posix_acl_default -v 0x0200000001000700ffffffff04000700ffffffff20000700ffffffff f"),
        (0, "getfacl -cn f; stat -c %a f; setfattr -x system.posix_acl_access f; getfattr -n system.posix_acl_access f"),
    ],
    "an empty list removes": [
        (0, "touch f; setfacl -m u:1001:rwx f; setfattr -n system.posix_acl_access -v 0x02000000 f"),
        (0, "getfacl -cn f; stat -c %a f"),
        (0, "mkdir d; setfacl -d -m u:1001:r d; setfattr -n system.posix_acl_default -v 0x02000000 d; getfacl -cn d"),
    ],
    "setgid goes when a stranger to the group sets a list": [
        (0, "touch f g h; chown 1001:1002 f; chown 1001:1001 g; chmod 2775 f g h"),
        (1001, "setfacl -m u:1002:r f; stat -c %a f"),
        (1001, "setfacl -m u:1002:r g; stat -c %a g"),
        (0, "setfacl -m u:1002:r h; stat -c %a h"),
        (0, "mkdir d; chown 1001:1002 d; chmod 2775 d"),
        (1001, "setfacl -d -m u:1002:r d; stat -c %a d; setfacl -m u:1002:r d; stat -c %a d"),
    ],
    "setgid directories hand down group and list": [
        (0, "mkdir d; chown 0:1002 d; chmod 2770 d; setfacl -m d:g:1002:rwx,d:u:1001:r d; umask 027; touch d/f; mkdir d/e"),
        (0, "getfacl -n d/f d/e; stat -c '%a %u %g' d/f d/e"),
    ],
    "lists follow links, copies and renames": [
        (0, "mkdir a b; setfacl -d -m u:1002:rwx b; touch a/f; setfacl -m u:1001:rw a/f; ln a/f a/hard"),
        (0, "mv a/f b/f; getfacl -cn b/f a/hard; cp b/f b/copy; cp -p b/f b/same; getfacl -cn b/copy b/same"),
        (0, "setfacl -m u:1001:- a/hard; getfacl -cn b/f; mv a b/a; getfacl -cn b/a"),
    ],
    "walking needs the right to, by lists too": [
        (0, "mkdir -p d/e; echo x > d/e/f; chmod 700 d; setfacl -m u:1001:x d"),
        (1001, "cat d/e/f; ls d"),
        (1002, "cat d/e/f"),
        (0, "setfacl -x u:1001 d"),
        (1001, "cat d/e/f"),
    ],
    "names and numbers of any size": [
        (0, "touch f; setfacl -m u:4294967294:r,g:0:w,u:0:x,u:70000:rwx f; getfacl -cn f; getfattr -d -m - -e hex f"),
        (0, "for i in $(seq 2000 2200); do echo u:$i:r; done > rules; setfacl -M rules f; getfacl -cn f | md5sum; rm rules"),
    ],
}


def settled(text: str, folder: Path) -> str:
    """What a command said, without where and when."""
    return re.sub(r"line \d+: ", "", text.replace(str(folder), ""))


def played(folder: Path, steps: list[Step]) -> list[tuple[str, int, str, str]]:
    """Do the steps in ``folder``; what came of each."""
    said = []
    for uid, command in steps:
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, user=uid, group=uid, extra_groups=[], capture_output=True, text=True, timeout=60
        )
        said.append((command, done.returncode, settled(done.stdout, folder), settled(done.stderr, folder)))
    return said


def facts(folder: Path) -> dict[str, tuple[object, ...]]:
    """Mode, owner, group and every attribute of what is below ``folder``."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        one = path.lstat()
        names = sorted(os.listxattr(path, follow_symlinks=False))
        values = tuple(os.getxattr(path, name, follow_symlinks=False) for name in names)
        found[str(path.relative_to(folder))] = (oct(one.st_mode), one.st_uid, one.st_gid, names, values)
    return found


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Path, Served]]:
    """A folder that everybody may walk through, and a mount below it that lets everybody in."""
    with TemporaryDirectory() as folder, serving(Path(folder) / "s", options=("--allow-other",)) as served:
        for path in (Path(folder), served.folder):
            path.chmod(0o755)
        yield Path(folder), served
        assert served.end() == 0
        assert "unforeseen" not in served.tail()


@pytest.fixture
def pair(place: tuple[Path, Served]) -> tuple[Path, Path]:
    """An empty directory on the disk and the present of a new MiMei, alike."""
    folder, served = place
    number = next(_numbers)
    disk = folder / f"disk{number}"
    disk.mkdir()
    return disk, served.mimei(f"m{number}")


@pytest.mark.parametrize("name", CASES)
def test_the_same_steps_give_the_same_on_the_disk_and_on_the_mount(name: str, pair: tuple[Path, Path]) -> None:
    disk, mount = pair
    assert played(mount, CASES[name]) == played(disk, CASES[name])
    assert facts(mount) == facts(disk)


def test_the_disk_knows_lists_at_all(pair: tuple[Path, Path]) -> None:
    said = played(pair[0], CASES["a named user is let in and nobody else"])
    assert [done[1] for done in said] == [0, 0, 2, 1]
    assert "user:1001:r--" in said[0][2]


# Versions


def test_versions_keep_lists_and_refuse_to_change_them(pair: tuple[Path, Path]) -> None:
    _, mount = pair
    played(mount, CASES["what is made inherits"])
    before = facts(mount)
    (mount / ".mimei" / "@v").mkdir()
    played(mount, [(0, "setfacl -R -b .; setfacl -R -k .")])
    assert facts(mount) != before
    version = mount / ".mimei" / "@1"
    assert facts(version) == before
    for act in (
        lambda: os.setxattr(version / "d", ACCESS, LIST),
        lambda: os.setxattr(version / "d", DEFAULT, LIST),
        lambda: os.removexattr(version / "d", DEFAULT),
    ):
        with refused(errno.EROFS):
            act()
    assert facts(version) == before


def test_lists_of_versions_decide_who_reads_them(pair: tuple[Path, Path]) -> None:
    _, mount = pair
    played(mount, [(0, "echo secret > f; chmod 600 f; setfacl -m u:1001:r f")])
    (mount / ".mimei" / "@v").mkdir()
    played(mount, [(0, "setfacl -b f; chmod 600 f")])
    said = [done[1:3] for done in played(mount, [(1001, "cat .mimei/@1/f"), (1002, "cat .mimei/@1/f"), (1001, "cat f")])]
    assert said == [(0, "secret\n"), (1, ""), (1, "")]


def test_restoring_brings_lists_back_in_whole_and_in_part(pair: tuple[Path, Path], place: tuple[Path, Served]) -> None:
    (_, mount), (_, served) = pair, place
    played(mount, [*CASES["what is made inherits"], (0, "setfacl -m u:1001:rx,d:u:1002:r . ")])
    before = facts(mount)
    (mount / ".mimei" / "@v").mkdir()
    spoil = [(0, "setfacl -R -b .; setfacl -R -k .; chmod -R a+rwx .; rm d/f")]
    for path in ((), ("d",)):
        played(mount, spoil)
        assert facts(mount)["d"] != before["d"]
        served.command("restore", mount.name, "@1", *path)
        after = facts(mount)
        assert {name: after[name] for name in after if name.startswith("d")} == {
            name: before[name] for name in before if name.startswith("d")
        }
        if not path:
            assert after == before
            assert played(mount, [(1001, "ls d")])[0][1] == 0


def test_forks_and_splits_have_the_lists(pair: tuple[Path, Path], place: tuple[Path, Served]) -> None:
    (_, mount), (_, served) = pair, place
    played(mount, CASES["what is made inherits"])
    before = facts(mount)
    (mount / ".mimei" / "@v").mkdir()
    served.command("fork", mount.name, f"{mount.name}-fork")
    assert facts(served.mount / f"{mount.name}-fork") == before
    inside = {name: found for name, found in before.items() if name.startswith("d")}
    served.command("split", mount.name, "d")
    assert {name: found for name, found in facts(mount).items() if name.startswith("d")} == inside


def test_a_new_mimei_inherits_from_the_root(place: tuple[Path, Served]) -> None:
    _, served = place
    subprocess.run(["setfacl", "-d", "-m", "u:1001:rwx,o::-", served.mount], check=True)
    try:
        made = served.mimei(f"m{next(_numbers)}")
        assert stat.S_IMODE(made.stat().st_mode) == 0o770
        served.command("create", f"{made.name}-too")
        assert os.getxattr(served.mount / f"{made.name}-too" / "@cur", DEFAULT) == os.getxattr(made, DEFAULT)
        assert played(made, [(1001, "touch f; stat -c %u f"), (1002, "ls")])[0][1:3] == (0, "1001\n")
        assert os.getxattr(made, DEFAULT) == os.getxattr(served.mount, DEFAULT)
    finally:
        subprocess.run(["setfacl", "-k", served.mount], check=True)


def test_lists_are_there_after_a_clean_end_and_after_a_crash() -> None:
    with TemporaryDirectory() as folder, serving(Path(folder) / "s") as served:
        mount = served.mimei("work")
        played(mount, CASES["what is made inherits"][:3])
        before = facts(mount)
        assert served.end() == 0
        served.start()
        assert facts(mount) == before
        os.setxattr(mount / "d" / "f", ACCESS, LIST)
        os.sync()
        before = facts(mount)
        served.kill_everything()
        served.start()
        assert facts(mount) == before
        assert served.end() == 0


# Copies

COPIERS: dict[str, Callable[[Path, Path], list[str]]] = {
    "cp -a": lambda source, target: ["cp", "-a", f"{source}/.", str(target)],
    "rsync -aHAX": lambda source, target: ["rsync", "-aHAX", f"{source}/", f"{target}/"],
    "tar --xattrs --acls": lambda source, target: [
        "sh",
        "-c",
        'tar -C "$0" --xattrs "--xattrs-include=*" --acls -cf - . | tar -C "$1" --xattrs "--xattrs-include=*" --acls -xpf -',
        str(source),
        str(target),
    ],
}


@pytest.mark.parametrize("copier", COPIERS)
def test_copies_in_and_out_are_exact_versions_included(copier: str, pair: tuple[Path, Path]) -> None:
    disk, mount = pair
    if shutil.which(COPIERS[copier](disk, mount)[0]) is None:
        pytest.skip("not installed")
    source, back, past = disk / "source", disk / "back", disk / "past"
    for path in (source, back, past):
        path.mkdir()
    steps = (
        "what is made inherits",
        "chmod changes the mask and never the named",
        "setgid directories hand down group and list",
    )
    for number, name in enumerate(steps):
        (source / str(number)).mkdir()
        played(source / str(number), CASES[name])
    os.setxattr(source / "1" / "f", "user.comment", b"kept")
    os.link(source / "1" / "f", source / "1" / "hard")
    for path in (*source.rglob("*"), source):
        # rsync takes directories whose times differ by less than a second for alike.
        os.utime(path, ns=(5, 1_700_000_000_123_456_789), follow_symlinks=False)
    for one, other in ((source, mount), (mount, back)):
        subprocess.run(COPIERS[copier](one, other), check=True, timeout=60)
        assert differences(os.fsencode(source), os.fsencode(other)) == []
    (mount / ".mimei" / "@v").mkdir()
    played(mount, [(0, "setfacl -R -b .; setfacl -R -k .")])
    version = mount / ".mimei" / "@1"
    subprocess.run(COPIERS[copier](version, past), check=True, timeout=60)
    assert differences(os.fsencode(source), os.fsencode(past)) == []
