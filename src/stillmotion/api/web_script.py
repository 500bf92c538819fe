"""The playground's modules as one script, so that a page needs one request for them and nobody a build step.

Each module becomes a function that returns what it exports, called once, after those that it imports from. The syntax
that this reads is small and is kept by the modules themselves: imports of names at the head of a file, and exports that
stand before a declaration at the beginning of a line, or in one list (as the vendored files have them). Anything else
is refused when the server starts, not met by a browser.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

VENDORED = {
    "preact": "vendor/preact.js",
    "preact/hooks": "vendor/preact-hooks.js",
    "htm": "vendor/htm.js",
    "@preact/signals": "vendor/preact-signals.js",
    "@preact/signals-core": "vendor/signals-core.js",
}
"""The packages that a module may import, by name."""

_IMPORT = re.compile(
    r"""(?:\s|//[^\n]*\n|/\*.*?\*/)*
    import\s*(?:(?P<default>[\w$]+)|\{(?P<names>[^}]*)\})\s*from\s*"(?P<source>[^"]+)"\s*;?""",
    re.VERBOSE | re.DOTALL,
)
_PASSED_ON = re.compile(r'\bexport\s*\{([^}]*)\}\s*from\s*"([^"]+)";?')
_LISTED = re.compile(r"\bexport\s*\{([^}]*)\};?")
_DECLARED = re.compile(r"^export (?=(?:async )?(?:function\*?|const|class) ([\w$]+))", re.MULTILINE)
_DEFAULT = re.compile(r"\bexport default ")
_SOURCE_MAP = re.compile(r"//# sourceMappingURL=.*$", re.MULTILINE)
_LEFT_OVER = re.compile(r"^\s*(?:import|export)\b", re.MULTILINE)


class ScriptError(Exception):
    """A module that cannot be joined to the others, with its name and what is wrong."""


def link(folder: Path, entry: str) -> str:
    """The script that runs ``entry``, a path below ``folder``, and everything that it imports. Raises ScriptError."""
    linked: dict[str, str] = {}
    _link(folder, entry, linked, ())
    return '"use strict";\n' + "".join(linked.values())


@dataclass(frozen=True, slots=True)
class _Import:
    source: str
    binding: str
    """The left side of the assignment that takes what is imported."""


def _link(folder: Path, path: str, linked: dict[str, str], above: tuple[str, ...]) -> None:
    if path in linked:
        return
    if path in above:
        raise ScriptError(f"{path}: is imported by what it imports ({' -> '.join(above)})")
    try:
        text = (folder / path).read_text()
    except FileNotFoundError:
        raise ScriptError(f"{path}: is missing, but {above[-1] if above else 'the page'} imports it") from None
    text = _SOURCE_MAP.sub("", text)
    imports, body = _imports(text)
    exports: dict[str, str] = {}
    body = _take_exports(body, path, imports, exports)
    if not path.startswith("vendor/") and (wrong := _LEFT_OVER.search(body)):
        raise ScriptError(f"{path}: cannot read {body[wrong.start() :].strip().splitlines()[0]!r}")
    for each in imports:
        _link(folder, _resolve(path, each.source), linked, (*above, path))
    taken = "".join(f"const {each.binding} = {_name(_resolve(path, each.source))};\n" for each in imports)
    given = ", ".join(f"{name}: {local}" for name, local in exports.items())
    linked[path] = (
        f"\n// {path}\nconst {_name(path)} = (() => {{\n{taken}{body.strip()}\nreturn {{ {given} }};\n}})();\n"
    )


def _imports(text: str) -> tuple[list[_Import], str]:
    """The imports at the head of a module, and the rest of it."""
    imports, position = [], 0
    while found := _IMPORT.match(text, position):
        names = _renamed(found["names"], ": ") if found["names"] is not None else f"default: {found['default']}"
        imports.append(_Import(found["source"], f"{{ {names} }}"))
        position = found.end()
    return imports, text[position:]


def _take_exports(body: str, path: str, imports: list[_Import], exports: dict[str, str]) -> str:
    """``body`` without its exports, which are put into ``exports``: the name outside, and what it is inside."""

    def passed_on(match: re.Match[str]) -> str:
        whole = f"passed_on_{len(imports)}"
        imports.append(_Import(match[2], whole))
        exports.update({name: f"{whole}.{local}" for local, name in _pairs(match[1])})
        return ""

    def listed(match: re.Match[str]) -> str:
        exports.update({name: local for local, name in _pairs(match[1])})
        return ""

    def declared(match: re.Match[str]) -> str:
        exports[match[1]] = match[1]
        return ""

    if path.startswith("vendor/"):
        body = _LISTED.sub(listed, _PASSED_ON.sub(passed_on, body))
        if _DEFAULT.search(body):
            exports["default"] = "its_default"
            body = _DEFAULT.sub("const its_default = ", body)
    return _DECLARED.sub(declared, body)


def _pairs(names: str) -> list[tuple[str, str]]:
    """``a as b, c`` as pairs of the name before and the name after."""
    found = []
    for each in filter(None, (part.strip() for part in names.split(","))):
        before, _, after = each.partition(" as ")
        found.append((before.strip(), (after or before).strip()))
    return found


def _renamed(names: str, sign: str) -> str:
    return ", ".join(f"{before}{sign}{after}" for before, after in _pairs(names))


def _resolve(importer: str, source: str) -> str:
    if source in VENDORED:
        return VENDORED[source]
    if not source.startswith("."):
        raise ScriptError(f"{importer}: imports {source!r}, which is not vendored")
    parts: list[str] = []
    for part in (PurePosixPath(importer).parent / source).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _name(path: str) -> str:
    return "module_" + re.sub(r"\W", "_", path)
