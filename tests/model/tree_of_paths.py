"""The tree of a local engine by paths, as a surface uses it; every call is carried through."""

from collections.abc import Mapping

from mimeifs.model.resource import NO_GUARD, Facts, Guard, Lock, Path
from mimeifs.model.resources import Resources
from mimeifs.model.staging import StagedFile
from tests.model.conftest import Local


def at(path: str) -> Path:
    """``/a/b`` as names."""
    return tuple(name.encode() for name in path.split("/") if name)


class Tree:
    """The resources of a local engine."""

    def __init__(self, local: Local) -> None:
        self.local = local
        self.resources = Resources(local.engine.mimeis, local.engine.views)

    def look(self, path: str) -> Facts:
        return self.local.run(lambda: self.resources.look(at(path), properties=True))

    def etag(self, path: str) -> str:
        return self.look(path).etag

    def names(self, path: str) -> list[bytes]:
        found: list[bytes] = []
        after = b""
        while True:
            page = self.local.run(lambda after=after: self.resources.page(at(path), after, 3, properties=False))
            found += [facts.name for facts in page.entries]
            after = page.next
            if not after:
                return found

    def put(self, path: str, data: bytes, guard: Guard = NO_GUARD, mtime_ns: int | None = None, hold_s: int = 0) -> Facts:
        staged = StagedFile(self.local.engine.views.root.tree, len(data))
        for start in range(0, len(data), 100_000):
            piece = data[start : start + 100_000]
            self.local.engine.live.now_ns()
            self.local.running.attempt(lambda start=start, piece=piece: staged.write(start, piece))
        try:
            return self.local.run(lambda: self.resources.place(staged, at(path), guard, None, mtime_ns, hold_s))
        except BaseException:
            staged.discard()
            raise

    def read(self, path: str) -> bytes:
        def read() -> bytes:
            _, file = self.resources.file(at(path))
            assert file is not None
            handle = file.open(writing=False)
            try:
                return bytes(handle.read(0, 1 << 30))
            finally:
                handle.close()

        return self.local.run(read)

    def mkdir(self, path: str, guard: Guard = NO_GUARD) -> Facts:
        return self.local.run(lambda: self.resources.mkdir(at(path), guard, None))

    def remove(self, path: str, guard: Guard = NO_GUARD, *, hold_s: int = 0) -> None:
        self.local.run(lambda: self.resources.remove(at(path), guard, hold_s=hold_s))

    def move(self, source: str, target: str, guard: Guard = NO_GUARD, *, overwrite: bool = False, hold_s: int = 0) -> bool:
        return self.local.run(lambda: self.resources.move(at(source), at(target), guard, overwrite=overwrite, hold_s=hold_s))

    def copy(
        self, source: str, target: str, guard: Guard = NO_GUARD, *, overwrite: bool = False, shallow: bool = False
    ) -> bool:
        return self.local.run(
            lambda: self.resources.copy(at(source), at(target), guard, None, overwrite=overwrite, shallow=shallow)
        )

    def patch(self, path: str, properties: Mapping[str, bytes | None], guard: Guard = NO_GUARD) -> Facts:
        return self.local.run(lambda: self.resources.patch(at(path), guard, properties, None, None))

    def lock(
        self, path: str, guard: Guard = NO_GUARD, *, exclusive: bool = True, infinite: bool = True, timeout_s: int = 600
    ) -> Lock:
        found, _ = self.local.run(
            lambda: self.resources.lock(
                at(path), guard, owner="<o/>", exclusive=exclusive, infinite=infinite, timeout_s=timeout_s
            )
        )
        return found

    def unlock(self, path: str, lock: Lock) -> None:
        self.local.run(lambda: self.resources.unlock(at(path), lock.token, lock.user))

    def tokens(self, path: str) -> list[str]:
        return [lock.token for lock in self.local.run(lambda: self.resources.locks(at(path)))]
