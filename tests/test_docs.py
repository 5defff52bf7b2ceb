"""The documents: links lead somewhere, commands, settings and modules exist, no path is of one machine."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

from edge_agent.cli import COMMANDS, parser_for
from edge_agent.config.loader import parse
from edge_agent.config.problem import InvalidConfigError, Problem
from edge_agent.config.schema import Config
from edge_agent.config.tree import leaves, members

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "edge_agent"
FOLDERS = ("benchmarks", "config", "docs", "edge_agent", "systemd", "tests")
PATH_SETTINGS = frozenset(leaf.key for leaf in leaves(Config()) if leaf.kind in (Path, Path | None))

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S
)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}[^\n]*\n(?:[ \t]*\n(?= {4}))?)+")
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.M)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.I)  # a scheme: https:, mailto:
_MACHINE_PATH = re.compile(r"(?<![\w/.-])/(?:work|opt/wheels|root/venvs|tmp/bash_jobs)(?![\w-])")
_FILE_SUFFIXES = (".json", ".log", ".md", ".pt", ".py", ".sqlite3", ".svg", ".txt", ".yaml")
_SHELLS = ("sh", "bash", "shell", "console")


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code in a document."""

    document: Path
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A use of `edge-agent` in a document, with the words after that name."""

    document: Path
    words: tuple[str, ...]
    is_in_block: bool
    """Whether it can be typed as it stands; in running text a call may be shortened, or have [brackets]."""

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: edge-agent {shlex.join(self.words)}"


def documents() -> list[Path]:
    """Every Markdown file of the repository, without those that were installed into its folder."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")]
    return sorted(ROOT.glob("*.md")) + sorted(found)


def fences(document: Path) -> list[Fence]:
    """The blocks of code of a document; those that are merely indented count as shell."""
    text = document.read_text(encoding="utf-8")
    fenced = [Fence(document, match["language"], match["text"]) for match in _FENCE.finditer(text)]
    indented = [Fence(document, "sh", match[0]) for match in _INDENTED.finditer(_FENCE.sub("", text))]
    return fenced + indented


def prose(document: Path) -> str:
    """The text without its blocks of code."""
    return _INDENTED.sub("", _FENCE.sub("", document.read_text(encoding="utf-8")))


def links(document: Path) -> Iterator[str]:
    for match in _LINK.finditer(_CODE.sub("", prose(document))):
        target = match[1] or match[2]
        if not _ELSEWHERE.match(target):
            yield target


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings: lower case, no punctuation, hyphens for spaces."""
    headings = (
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[1]) for match in _HEADING.finditer(prose(document))
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_in(text: str, *, has_prompt: bool) -> Iterator[list[str]]:
    """The words of each command in a piece of shell; with `has_prompt`, only lines with one count."""
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        typed = line.strip()
        if has_prompt:
            if not typed.startswith(("$ ", "# ")):
                continue
            typed = typed[2:]
        for part in re.split(r"\s(?:\|\|?|&&|;)\s", typed):
            try:
                yield shlex.split(part, comments=True)
            except ValueError:
                continue  # a quote that goes on in the next line: no call of edge-agent needs one


def agent_words(command: list[str]) -> list[str] | None:
    """The words after `edge-agent` if the command runs it, also through sudo; None otherwise."""
    words = list(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        del words[0]
    if words[:1] == ["sudo"]:
        del words[0]
        while words and words[0].startswith("-"):
            del words[: 2 if words[0] in ("-u", "-g") else 1]
    return words[1:] if words and Path(words[0]).name == "edge-agent" and len(words) > 1 else None


def calls() -> Iterator[Call]:
    for document in documents():
        for fence in fences(document):
            if fence.language in _SHELLS:
                for command in commands_in(fence.text, has_prompt=fence.language == "console"):
                    if words := agent_words(command):
                        yield Call(document, tuple(words), is_in_block=True)
        for match in _CODE.finditer(prose(document)):
            for command in commands_in(match[1], has_prompt=False):
                if words := agent_words(command):
                    yield Call(document, tuple(words), is_in_block=False)


@cache
def parser_of(command: str) -> argparse.ArgumentParser:
    return subparsers_of(parser_for([command]))[command]


def subparsers_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def unknown_words(words: tuple[str, ...]) -> list[str]:
    """The subcommands and long options in a call that the program does not have."""
    names = [command.name for command in COMMANDS]
    if words[0].startswith("-"):
        return [word for word in words if word not in ("--version", "--help")]
    if words[0] not in names:
        return [words[0]]
    parser, rest = parser_of(words[0]), words[1:]
    if (below := subparsers_of(parser)) and rest:
        if rest[0] not in below and not rest[0].startswith("-"):
            return [rest[0]]
        parser = below.get(rest[0], parser)
    given = [match[0] for word in rest if (match := re.match(r"--[a-z][a-z-]*", word.strip("[]()")))]
    known = {option for action in parser._actions for option in action.option_strings}
    return [option for option in given if option not in known]


def agent_settings() -> Iterator[Fence]:
    """The blocks of YAML that are meant for the agent: one of its sections is at the top."""
    sections = {member.name for member in members(Config)}
    for document in documents():
        for fence in fences(document):
            if fence.language == "yaml":
                root = yaml.compose(fence.text)  # not loaded: it may have another program's tags
                if isinstance(root, yaml.MappingNode) and any(key.value in sections for key, _ in root.value):
                    yield fence


def is_missing_file(problem: Problem) -> bool:
    """Whether the problem is only that the reader's own file is not here."""
    is_missing = "does not exist" in problem.message or "No such file" in problem.message
    return problem.key in PATH_SETTINGS and is_missing


def dotted_name(code: str) -> str:
    """`mqtt.port` for `mqtt.port` and `mqtt.port: 1883`; empty for anything else, such as a file name."""
    name = code.partition(":")[0]
    is_dotted = re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", name) is not None
    return name if is_dotted and Path(name).suffix not in _FILE_SUFFIXES else ""


def folders_of_the_package() -> list[Path]:
    return [path.parent for path in sorted(PACKAGE.rglob("__init__.py"))]


def rooms() -> dict[Path, set[str]]:
    """The folders that the map in docs/ARCHITECTURE.md has a row for, each with the modules that it names."""
    document = ROOT / "docs/ARCHITECTURE.md"
    table = prose(document).partition("## The rooms\n")[2].partition("\n\nBeside the package")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines() if row.startswith("| [")]
    targets = [_LINK.search(row[0]) for row in rows]
    return {
        (document.parent / target[1]).resolve(): set(re.findall(r"`(\w+)`", row[-1]))
        for target, row in zip(targets, rows, strict=True)
        if target
    }


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in links(document):
        name, _, anchor = link.partition("#")
        target = (document.parent / name) if name else document
        exists = target.exists() and target.resolve().is_relative_to(ROOT)
        if not exists or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        document = ahead.pop()
        if document in reached or document.suffix != ".md" or not document.is_file():
            continue
        reached.add(document)
        ahead += [(document.parent / link.partition("#")[0]).resolve() for link in links(document)]
    manual = set((ROOT / "docs").rglob("*.md"))
    assert manual - reached == set()


@pytest.mark.parametrize("folder", folders_of_the_package(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_map_has_each_folder_with_its_modules(folder: Path) -> None:
    named = rooms().get(folder)
    assert named is not None, "docs/ARCHITECTURE.md has no row for this folder"
    assert named == {path.stem for path in folder.glob("*.py")} - {"__init__"}


def test_the_map_has_no_other_folder() -> None:
    assert rooms().keys() <= set(folders_of_the_package())


def test_every_command_and_option_that_is_named_exists() -> None:
    found = list(calls())
    wrong = [f"{call} ({', '.join(unknown)})" for call in found if (unknown := unknown_words(call.words))]
    assert wrong == []
    assert len(found) > 10


def test_every_command_in_a_block_can_be_typed_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    refused = []
    for call in calls():
        if call.is_in_block and not unknown_words(call.words):
            try:
                parser_for(call.words).parse_args(call.words)
            except SystemExit as ended:
                if ended.code:
                    refused.append(f"{call}: {capsys.readouterr().err.splitlines()[-1]}")
    assert refused == []


def test_every_subcommand_is_documented() -> None:
    assert {command.name for command in COMMANDS} - {call.words[0] for call in calls()} == set()


def test_every_piece_of_configuration_is_accepted(tmp_path: Path) -> None:
    found = list(agent_settings())
    refused = []
    for fence in found:
        name = str(fence.document.relative_to(ROOT))
        try:
            parse(fence.text, name, base=tmp_path, hostname="board")
        except InvalidConfigError as error:
            refused += [problem.describe(name) for problem in error.problems if not is_missing_file(problem)]
    assert refused == []
    assert found


def test_every_setting_that_is_named_with_its_section_exists() -> None:
    keys = {leaf.key for leaf in leaves(Config())}
    sections = {key[:dot] for key in keys for dot in range(len(key)) if key[dot] == "."}
    unknown = [
        f"{document.relative_to(ROOT)}: {name}"
        for document in documents()
        for match in _CODE.finditer(prose(document))
        if (name := dotted_name(match[1])).partition(".")[0] in sections and name not in keys | sections
    ]
    assert unknown == []


def test_the_makes_that_the_readme_names_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for document in documents():
        typed = "\n".join([fence.text for fence in fences(document) if fence.language in _SHELLS])
        named = set(re.findall(r"^(?:\$ )?make ([a-z][a-z-]*)$", typed, re.M))
        named |= set(re.findall(r"`make ([a-z][a-z-]*)`", prose(document)))
        assert named <= targets, document


def test_no_document_names_a_path_of_one_machine() -> None:
    pictures = sorted((ROOT / "docs").rglob("*.svg"))
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in [*documents(), *pictures]
        for match in _MACHINE_PATH.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
