"""The documents tell the truth where a program can tell: links, dependencies, indexes, modules."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "packaging").rglob("*.md")])
DEPENDENCIES = (ROOT / "docs" / "dependencies.md").read_text()


def prose(page: Path) -> str:
    """A page without its code, where brackets mean something else."""
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What the headings of a page can be linked as."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead nowhere in the repository."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not re.match(r"[a-z]+:", target) and (not there.exists() or (anchor and anchor not in anchors(there))):
            broken.append(target)
    return broken


def first_column(text: str) -> list[str]:
    """The names in backquotes that begin the rows of a page's tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def declared() -> set[str]:
    """What pyproject.toml and the dev script ask for."""
    toml = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        toml["build-system"]["requires"],
        toml["project"]["dependencies"],
        *toml["project"]["optional-dependencies"].values(),
    ]
    python = [name for names in lists for name in names]
    debian = re.findall(r'^\w+_PACKAGES="([^"]+)"$', (ROOT / "dev").read_text(), flags=re.MULTILINE)
    return {re.split(r"[<>=~!\[; ]", name)[0] for name in python} | {name for names in debian for name in names.split()}


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_internal_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A head: one\n[a](gone.md) [b](#a-head-one) [c](#other) [d](https://x.org) `[e](f)`\n```\n[g](h)\n```\n")
    assert broken_links(page) == ["gone.md", "#other"]


def test_every_dependency_says_why_it_is_here() -> None:
    assert declared() - set(first_column(DEPENDENCIES)) == set()


def test_no_line_is_left_over_from_a_dependency() -> None:
    assert set(first_column(DEPENDENCIES)) - declared() == set()


def test_no_dependency_has_two_lines() -> None:
    names = first_column(DEPENDENCIES)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("folder", ["format", "decisions"])
def test_every_page_of_a_folder_is_in_its_index(folder: str) -> None:
    index = ROOT / "docs" / folder / "README.md"
    pages = {page.name for page in index.parent.glob("*.md")} - {index.name}
    assert {name for name in pages if f"({name})" not in index.read_text()} == set()


def test_every_guide_is_in_the_index_of_the_documents() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    docs = ROOT / "docs"
    guides = {
        page.relative_to(docs).as_posix() for kind in ("tutorial", "how-to", "reference") for page in (docs / kind).glob("*.md")
    }
    assert {guide for guide in guides if f"({guide})" not in index} == set()


def test_the_architecture_lists_the_modules_there_are() -> None:
    """A row ending in ``/`` stands for all that is in the folder."""
    rows = first_column((ROOT / "ARCHITECTURE.md").read_text())
    folders = tuple(row for row in rows if row.endswith("/"))
    package = ROOT / "mimeifs"
    modules = {path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("[!_]*.py")}
    unlisted = {module for module in modules if module not in rows and not module.startswith(folders)}
    gone = {row for row in rows if row not in modules and not (row in folders and (package / row).is_dir())}
    assert (unlisted, gone) == (set(), set()), "modules without a row, rows without a module"
