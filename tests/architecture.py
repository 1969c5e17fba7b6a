"""The rules of ARCHITECTURE.md as a reader of syntax trees: source in, findings out; nothing is imported or run.

A module is known by its dotted name; its *room* is the first part below ``mimeifs`` (``mimeifs.store.packs`` stands in
``store``), and every room stands on one floor. Imports inside functions and under ``TYPE_CHECKING`` count like all others.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "mimeifs"
GROUND, STORE, MODEL, SURFACE, SHELL = range(5)
FLOORS = {
    **dict.fromkeys(("errors", "codec", "ids", "clock"), GROUND),
    "store": STORE,
    "model": MODEL,
    **dict.fromkeys(("fuse", "dav", "net", "api", "redis"), SURFACE),
}

# Surfaces that are programs of their own, and the one through which they reach the node.
CLIENTS = {"dav": "api"}

# Each foreign library has one home: a module, or a folder with all that is in it.
HOMES = {
    "lmdb": "mimeifs.store",
    "pyfuse3": "mimeifs.fuse",
    "wsgidav": "mimeifs.dav",
    "cheroot": "mimeifs.dav",
    "ssl": "mimeifs.net",
    "nacl": "mimeifs.model.identity",
}

# What a function that depends on its arguments alone cannot use.
IMPURE = (
    *("time", "random", "secrets", "uuid", "trio", "asyncio", "socket", "subprocess"),
    *("os.environ", "os.environb", "os.getenv", "os.getenvb", "os.urandom", "os.getrandom"),
    *("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
)
FILES = ("os", "pathlib", "shutil", "tempfile", "io", "mmap")
FILES_ALLOWED = {"os.fsencode", "os.fsdecode", "io.BytesIO"}
EXEMPT = "mimeifs.clock"  # the one place below the surfaces that asks the machine, so that all others can be handed its answer
FILES_HOMES = ("mimeifs.store", "mimeifs.model.identity")  # a key file is none of the store's: it outlives and unlocks stores

MAX_LINES = 600
MAX_FUNCTION_LINES = 60
VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "misc"}


@dataclass(frozen=True, slots=True)
class Source:
    """One module: its dotted name, its text, and whether it is the face of a folder."""

    module: str
    text: str
    is_package: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """A dotted name that a module imports or reaches through an import, and where."""

    name: str
    line: int


def sources(root: Path) -> Iterator[Source]:
    """Every module of the package below ``root``."""
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield Source(".".join(parts[:-1] if is_package else parts), path.read_text(encoding="utf-8"), is_package)


def check(source: Source) -> list[str]:
    """All findings in one module, as lines for a person."""
    tree = ast.parse(source.text)
    uses = [*imported(source, tree), *reached(tree)]
    found = [*check_face(source, tree), *check_sizes(source, tree), *check_homes(source, uses)]
    found += [*check_floors(source, imported(source, tree)), *check_purity(source, tree, uses)]
    return [f"{source.module}{place}" for place in dict.fromkeys(found)]


def room(module: str) -> str:
    """The part of a dotted name that decides the floor; empty for the package itself and for all that is not ours."""
    parts = module.split(".")
    dunder = len(parts) > 1 and parts[1].startswith("__") and parts[1] != "__main__"
    return parts[1] if len(parts) > 1 and parts[0] == PACKAGE and not dunder else ""


def floor(module: str) -> int:
    """Where a module of ours stands; the package itself is ground, and all that is not listed is shell."""
    return FLOORS.get(room(module), SHELL) if room(module) else GROUND


def within(name: str, home: str) -> bool:
    """Whether a dotted name is ``home`` or lies in it."""
    return name == home or name.startswith(home + ".")


def imported(source: Source, tree: ast.Module) -> Iterator[Use]:
    """What the module imports, in absolute names: ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Use(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(source, node)
            yield from (Use(f"{base}.{alias.name}", node.lineno) for alias in node.names)


def _base(source: Source, node: ast.ImportFrom) -> str:
    """The absolute module that a ``from`` import starts at."""
    if not node.level:
        return node.module or ""
    parts = source.module.split(".")
    above = parts[: len(parts) - node.level + (1 if source.is_package else 0)]
    return ".".join([*above, node.module] if node.module else above)


def reached(tree: ast.Module) -> Iterator[Use]:
    """Attribute chains that start at an imported name, in absolute names: ``import os as o; o.environ`` is ``os.environ``."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
                for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            start, _, rest = ast.unparse(node).partition(".")
            if start in names:
                yield Use(f"{names[start]}.{rest}", node.lineno)


def check_face(source: Source, tree: ast.Module) -> Iterator[str]:
    """Every module says what it is, and has a name that says so too."""
    if not ast.get_docstring(tree):
        yield ": has no docstring"
    if vague := VAGUE_NAMES.intersection(source.module.split(".")):
        yield f": {vague.pop()!r} says nothing about what is in it"


def check_sizes(source: Source, tree: ast.Module) -> Iterator[str]:
    """No file and no function beyond the hard stop."""
    if (lines := len(source.text.splitlines())) > MAX_LINES:
        yield f": {lines} lines, over {MAX_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f":{node.lineno}: {node.name} has {lines} lines, over {MAX_FUNCTION_LINES}"


def check_floors(source: Source, imports: Iterator[Use]) -> Iterator[str]:
    """Imports go down, or stay in the room; rooms on one floor see each other only on the ground and in the shell."""
    mine = floor(source.module)
    for use in imports:
        if not within(use.name, PACKAGE) or room(use.name) in ("", room(source.module)):
            continue
        theirs = floor(use.name)
        if theirs > mine:
            yield f":{use.line}: imports {use.name} from a floor above"
        elif theirs == mine == SURFACE and CLIENTS.get(room(source.module)) != room(use.name):
            yield f":{use.line}: imports {use.name}, another surface"


def check_homes(source: Source, uses: list[Use]) -> Iterator[str]:
    """A foreign library is used in its home only."""
    for use in uses:
        home = HOMES.get(use.name.split(".")[0])
        if home and not within(source.module, home):
            yield f":{use.line}: uses {use.name}, which belongs in {home}"


def check_purity(source: Source, tree: ast.Module, uses: list[Use]) -> Iterator[str]:
    """Below the surfaces everything is an argument and nothing waits; files are touched in their homes."""
    if floor(source.module) > MODEL or source.module == EXEMPT:
        return
    for use in uses:
        if any(within(use.name, name) for name in IMPURE):
            yield f":{use.line}: uses {use.name} below the surfaces"
    if not any(within(source.module, home) for home in FILES_HOMES):
        yield from check_files(uses)
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield f":{node.lineno}: waits below the surfaces"


def check_files(uses: list[Use]) -> Iterator[str]:
    """Nothing here touches files; a bare ``import os`` is judged by what is reached through it."""
    for use in uses:
        if use.name not in FILES and use.name not in FILES_ALLOWED and any(within(use.name, name) for name in FILES):
            yield f":{use.line}: uses {use.name}; files belong in mimeifs.store"
