"""The public members of fal's JavaScript client, read from its type declarations."""

import re
from pathlib import Path

PRIVATE = re.compile(r"(private|protected|constructor|static)\b")
METHOD = re.compile(r"(?:get )?([\w$]+|\[Symbol\.\w+\])\??(?:<.*?>)?\s*(?:\(|:\s*\(|:\s*<|:\s*\w+\[\")")
DATA = re.compile(r"(?:readonly )?[\w$]+\??:\s*(\w+)$")


def public_members(package: Path) -> set[str]:
    """``Type.member`` for every method and accessor that a program can reach from the package's exports, and the names
    of the functions that it exports; properties that hold plain data are not listed."""
    return _Declarations(package / "src").members()


class _Declarations:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The models' inputs and outputs are a megabyte of plain data.
        files = (path for path in folder.rglob("*.d.ts") if path.name != "endpoints.d.ts")
        self._texts = {path: _plain(path.read_text()) for path in files}
        self._found: set[str] = set()
        self._seen: set[str] = set()

    def members(self) -> set[str]:
        index = self._texts[self._folder / "index.d.ts"]
        for listed in re.findall(r"export (?:type )?\{(.*?)\} from", index):
            for name in listed.split(","):
                self._reach(name.strip().removeprefix("type ").strip())
        for module in re.findall(r"export \* from \"(.*?)\"", index):
            for name in re.findall(r"export declare function (\w+)", self._texts[self._folder / f"{module}.d.ts"]):
                self._found.add(name)
        for type in re.findall(r"export declare const \w+: (\w+);", index):
            self._reach(type)
        return self._found

    def _reach(self, name: str) -> None:
        if not name or name in self._seen:
            return
        self._seen.add(name)
        for text in self._texts.values():
            if re.search(rf"export declare function {name}\b", text):
                self._found.add(name)
            declared = re.search(rf"(?:interface|class) {name}\b[^{{]*\{{|type {name} = (?=\{{)", text)
            if declared:
                self._read(name, _body(text, declared.start()))

    def _read(self, type: str, body: str) -> None:
        for member in _split(body):
            if PRIVATE.match(member):
                continue
            if method := METHOD.match(member):
                self._found.add(f"{type}.{method[1]}")
                # What it gives has members too.
                for given in re.findall(r"\w+", re.split(r"\)\s*(?::|=>)", member)[-1]):
                    self._reach(given)
            elif data := DATA.match(member):
                self._reach(data[1])


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL))


def _body(text: str, start: int) -> str:
    """Between the first brace from ``start`` and the one that closes it."""
    begin = text.index("{", start)
    depth = 0
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin + 1 : place]
    raise ValueError(f"an open brace: {text[begin : begin + 60]}")


def _split(body: str) -> list[str]:
    """The members of a body: between semicolons that lie in no brackets."""
    members, depth, begin = [], 0, 0
    for place, character in enumerate(body):
        depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(character, 0)
        if character == ";" and depth == 0:
            members.append(body[begin:place].strip())
            begin = place + 1
    return [*members, body[begin:].strip()]
