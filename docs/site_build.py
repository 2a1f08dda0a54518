"""What the site needs beside mkdocs.yml: files that lie outside docs/, and the docstrings of this house as Markdown."""

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from schemas.default_settings import DEFAULT_YAML

_ROOT = Path(__file__).resolve().parent.parent
_OUTSIDE = (
    *(
        "*.md",
        "LICENSE",
        "benchmarks/**/*.md",
        "benchmarks/**/*.txt",
        "benchmarks/**/*.png",
        "examples/**/*.ipynb",
        "model/**/*.md",
    ),
    "engine/**/*.LICENSE.txt",
)
_HOME = "index.md"
_ARGUMENTS = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): ")
_ENGINE_YAML = "<!-- engine.yaml -->"
_SENTENCES = ("Returns ", "Raises ", "Yields ")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what documents link to outside docs/, under its path in the repository; the README is the first page."""
    for pattern in _OUTSIDE:
        for path in sorted(_ROOT.glob(pattern)):
            name = path.relative_to(_ROOT).as_posix()
            files.append(File.generated(config, _HOME if name == "README.md" else name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show the settings of a new workspace, and let links lead where the site has what they name: docs/ is its top."""
    markdown = markdown.replace(_ENGINE_YAML, f"```yaml\n{DEFAULT_YAML}```")
    depth = page.file.src_uri.count("/")
    if page.file.generated_by is None:
        return markdown.replace("](" + "../" * (depth + 1), "](" + "../" * depth)
    home = markdown.replace("](README.md", f"]({_HOME}")
    return re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", home)


class HouseDocstrings(griffe.Extension):
    """Arguments, "name: what the type does not say", become a list; Returns and Raises paragraphs; settings a block."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = laid_out(obj.docstring.value, _names_of(obj)) + _settings(obj)


def _names_of(obj: griffe.Object) -> set[str]:
    """What parts of the docstring may begin with: parameters, or the attributes of a class."""
    if isinstance(obj, griffe.Function):
        return {parameter.name.lstrip("*") for parameter in obj.parameters}
    return set(obj.members) if isinstance(obj, griffe.Class) else set()


def _settings(obj: griffe.Object) -> str:
    """The fields of a pydantic model with what they may be: their signature is not in the source."""
    if not isinstance(obj, griffe.Class) or "dataclass" in obj.labels or not obj.bases:
        return ""
    fields = [
        f"{name}: {attribute.annotation}{f' = {attribute.value}' if attribute.value else ''}"
        for name, attribute in obj.attributes.items()
        if attribute.annotation and not name.startswith("_")
    ]
    return "\n".join(["", "", "```python", *fields, "```"]) if fields else ""


def laid_out(docstring: str, names: set[str]) -> str:
    """The docstring with a blank line, and for arguments a list mark, before each part."""
    lines: list[str] = []
    in_list = False
    for line in _one_part_a_line(docstring, names):
        found = _ARGUMENTS.match(line)
        if found and names.issuperset(re.findall(r"\w+", found[1])):
            marked = ", ".join(f"`{name}`" for name in found[1].split(", "))
            lines += [*([] if in_list else [""]), f"- {marked}: {line[found.end() :]}"]
            in_list = True
        elif line.startswith(_SENTENCES):
            lines += ["", line]
            in_list = False
        else:
            in_list = in_list and bool(line.strip())
            lines.append(f"    {line.strip()}" if in_list else line)
    return "\n".join(lines)


def _one_part_a_line(docstring: str, names: set[str]) -> list[str]:
    """Lines, broken before each argument that follows another one on its line."""
    if not names:
        return docstring.splitlines()
    name = rf"\*{{0,2}}(?:{'|'.join(map(re.escape, sorted(names)))})"
    return re.sub(rf"(?<=[.;)]) (?={name}(?:, {name})*: )", "\n", docstring).splitlines()
