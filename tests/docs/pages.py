"""README and docs, taken apart: fenced blocks, the commands in them, links, inline code. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane.paths import ROOT

_FENCE = re.compile(r"^(`{3,})(\w*)\s*$")
_PROMPT = re.compile(r"^([a-z]+)\$ (.*)$")
_HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"^#+ (.*)$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `line` is that of its first line of content, counted from 1."""

    language: str
    line: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody types in a console block, and the lines that the page shows after it."""

    user: str
    line: int
    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    path: Path
    text: str

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    def blocks(self, *languages: str) -> list[Block]:
        return [block for block in _blocks(self.text) if not languages or block.language in languages]

    def prose(self) -> str:
        """The page without its fenced blocks."""
        return "".join(text for _, text in _prose(self.text))

    def links(self) -> list[str]:
        return _LINK.findall(self.prose())

    def inline_code(self) -> list[str]:
        return _INLINE.findall(self.prose())

    def anchors(self) -> set[str]:
        """As GitHub makes them from headings."""
        titles = [match.group(1) for line in self.prose().splitlines() if (match := _HEADING.match(line))]
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    def commands(self) -> list[Command]:
        return [command for block in self.blocks("console") for command in commands_in(block)]


def pages() -> list[Page]:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return [Page(file, file.read_text()) for file in sorted(files)]


def page(name: str) -> Page:
    return Page(ROOT / name, (ROOT / name).read_text())


def commands_in(block: Block) -> list[Command]:
    """
    Raises:
        ValueError: a line stands before the first prompt, or a here-document has no end
    """
    found: list[Command] = []
    lines = list(enumerate(block.lines, block.line))
    while lines:
        number, line = lines.pop(0)
        prompt = _PROMPT.match(line)
        if prompt is None:
            raise ValueError(f"line {number}: a console block begins each command with `name$ `: {line!r}")
        user, text = prompt.groups()
        typed = [text]
        if ending := _HEREDOC.search(text):
            while typed[-1] != ending.group(1):
                if not lines:
                    raise ValueError(f"line {number}: the here-document has no {ending.group(1)}")
                typed.append(lines.pop(0)[1])
        while typed[-1].endswith("\\") and lines:
            typed.append(lines.pop(0)[1])
        shown: list[str] = []
        while lines and not _PROMPT.match(lines[0][1]):
            shown.append(lines.pop(0)[1])
        found.append(Command(user, number, "\n".join(typed), tuple(shown)))
    return found


def _blocks(text: str) -> Iterator[Block]:
    fence, language, begun, content = "", "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        match = _FENCE.match(line)
        if match and not fence:
            fence, language, begun, content = match.group(1), match.group(2), number + 1, []
        elif match and match.group(1) == fence and not match.group(2):
            yield Block(language, begun, tuple(content))
            fence = ""
        elif fence:
            content.append(line)


def _prose(text: str) -> Iterator[tuple[int, str]]:
    inside = False
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if _FENCE.match(line.rstrip("\n")):
            inside = not inside
        elif not inside:
            yield number, line
