"""The playground's modules as one script: what is joined, and what is refused."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from requirements import need_program
from stillmotion.api.web import FOLDER, OPERATIONS, SCRIPT
from stillmotion.api.web_script import VENDORED, ScriptError, link


def written(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text)
    return folder


def run(script: str) -> str:
    done = subprocess.run(
        [need_program("node"), "--input-type=module", "-"], input=script, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_modules_run_once_in_the_order_of_their_imports(tmp_path):
    written(
        tmp_path,
        main='// Head.\nimport { a, twice as double } from "./a.js";\nimport {\n  b,\n} from "./b.js";\n'
        "console.log(a, b, double(4));\n",
        a='import { b } from "./b.js";\nconsole.log("a");\nexport const a = `a${b}`;\n'
        "export function twice(n) {\n  return 2 * n;\n}\n",
        b='console.log("b");\nexport const b = "b";\n',
    )
    assert run(link(tmp_path, "main.js")).splitlines() == ["b", "a", "ab b 8"]


def test_names_of_modules_do_not_meet(tmp_path):
    written(
        tmp_path,
        main='import { show } from "./other.js";\nconst hidden = 1;\nconsole.log(hidden, show());\n',
        other="const hidden = 2;\nexport const show = () => hidden;\n"
        "export class Unused {}\nexport async function also() {}\n",
    )
    assert run(link(tmp_path, "main.js")).strip() == "1 2"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('import "./other.js";', "cannot read"),
        ('import * as all from "./other.js";', "cannot read"),
        ("export default 1;", "cannot read"),
        ("export { a };", "cannot read"),
        ('const late = 1;\nimport { a } from "./other.js";', "cannot read"),
        ('import { a } from "./missing.js";', "is missing"),
        ('import { a } from "https://example.com/a.js";', "not vendored"),
        ('import { a } from "left-pad";', "not vendored"),
        ('import { a } from "./main.js";', "imported by what it imports"),
    ],
)
def test_what_cannot_be_joined_is_refused_at_the_start(tmp_path, text, told):
    written(tmp_path, main=text, other="export const a = 1;\n")
    with pytest.raises(ScriptError, match=told):
        link(tmp_path, "main.js")


def test_the_vendored_files_are_those_of_the_registry():
    folder = FOLDER / "vendor"
    listed = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(listed) == {path.name for path in folder.glob("*.js")} == {Path(each).name for each in VENDORED.values()}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_each_vendored_file_has_its_licence():
    table = (FOLDER / "vendor" / "README.md").read_text()
    for path in VENDORED.values():
        (licence,) = re.findall(rf"`{re.escape(Path(path).name)}`.*`(LICENSE\.\w+)`", table)
        assert "Copyright" in (FOLDER / "vendor" / licence).read_text()


def test_every_module_is_reached():
    """What nothing imports is not sent, and would only look as if it were there."""
    script = link(FOLDER, SCRIPT) + link(FOLDER, OPERATIONS)
    assert {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.js")} == set(
        re.findall(r"^// (\S+\.js)$", script, re.M)
    )
