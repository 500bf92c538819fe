"""The harness for full-size networks, on tiny ones: what it measures, keeps, resumes, and leaves when time is over."""

import json
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.full_size_profile import write as write_profile
from bench.full_size_report import told
from bench.full_size_rows import ROWS, Row
from bench.full_size_run import PICTURE, Budget, run
from bench.networks import Networks
from bench.random_bundle import build, full_configurations, make_network

from stillmotion.job import Family

ROOT = Path(__file__).parents[2]
CPU, META = torch.device("cpu"), torch.device("meta")
LORA = Row(request="lora", size="small", stock=True)
QUALITY = Row(request="quality", size="small", stock=True)
DEV = Row(request="19b", size="small", acceleration="none", stock=True)
CUDNN = Row(request="lora", size="small", attention="cudnn")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return Networks(tmp_path_factory.mktemp("networks"), "tiny", CPU, torch.float32, PICTURE)


def rows_of(path: Path) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(path.read_text())["rows"]
    return rows


def measure(path: Path, rows: list[Row], networks: Networks, **how: Any) -> list[Row]:
    return run(path, rows, networks, scale="tiny", **{"repeats": 1, "budget": Budget(60)} | how)


def test_both_sides_are_measured_by_their_parts(tmp_path: Path, networks: Networks) -> None:
    path = tmp_path / "results.json"
    assert measure(path, [LORA, QUALITY, DEV], networks, repeats=2) == []
    rows = rows_of(path)
    assert list(rows) == ["lora 128x128x9", "quality 128x128x9", "19b 128x128x9, acceleration none"]
    for name, stages in zip(rows, (2, 1, 2), strict=True):
        for side in ("ours", "stock"):
            found = rows[name][side]
            # Text, denoising and decoding are never for nothing.
            assert min(found["seconds"][part] for part in ("text", "denoise", "decode")) > 0
            assert ("stage 2" in found["seconds"]) == (stages == 2)
            assert len(found["totals"]) == 2
        assert rows[name]["passes"]["stock"] == rows[name]["passes"]["needed"]
    # 2 steps of 4 passes and 3 of one; 2 of one; 2 of two and 3 of one.
    assert [found["passes"]["needed"] for found in rows.values()] == [11, 2, 7]


def test_a_second_run_measures_only_what_is_missing(tmp_path: Path, networks: Networks) -> None:
    path, said = tmp_path / "results.json", list[str]()
    measure(path, [QUALITY], networks)
    before = rows_of(path)
    measure(path, [QUALITY, CUDNN], networks, say=said.append)
    assert said == [line for line in said if "cudnn" in line]
    after = rows_of(path)
    assert after.pop("lora 128x128x9, attention cudnn")["failed"].startswith("EngineError: attention 'cudnn' needs")
    assert after == before
    measure(path, [QUALITY], networks, again=True)
    assert rows_of(path)["quality 128x128x9"] != before["quality 128x128x9"]


def test_another_machines_numbers_are_not_mixed(tmp_path: Path, networks: Networks) -> None:
    path = tmp_path / "results.json"
    measure(path, [], networks)
    results = json.loads(path.read_text())
    results["machine"]["torch"] = "0.1"
    path.write_text(json.dumps(results))
    with pytest.raises(ValueError, match="another machine"):
        measure(path, [QUALITY], networks)


def ticking(seconds: float) -> Budget:
    """One whose clock moves on by a second whenever it is read."""
    ticks = count()
    return Budget(seconds, clock=lambda: next(ticks))


def test_a_row_is_kept_whole_or_not_at_all_when_time_is_over(tmp_path: Path, networks: Networks) -> None:
    path = tmp_path / "results.json"
    measure(path, [], networks)
    # The clock is read once at the start, once before the row, then at every step: 5 and 5 to warm up, then 5 and 5.
    for seconds in (0, 4, 8, 13, 19):
        assert measure(path, [LORA], networks, budget=ticking(seconds)) == [LORA]
        assert rows_of(path) == {}
    assert measure(path, [LORA], networks, budget=ticking(40), repeats=9) == []
    assert 1 <= len(rows_of(path)["lora 128x128x9"]["ours"]["totals"]) < 9


def test_the_command_ends_in_order_when_there_is_no_time(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench.full_size_run", "--scale", "tiny", "--device", "cpu"]
    command += ["--seconds", "0", "--results", str(path), "--rows", "quality 128*", "19b 128*none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 of 4 rows" in done.stderr
    written = json.loads(path.read_text())
    assert written["rows"] == {}
    assert written["machine"]["torch"] == torch.__version__


def test_a_profile_has_a_table_for_each_stage_and_for_decoding(tmp_path: Path, networks: Networks) -> None:
    path = tmp_path / "profile.txt"
    write_profile(path, LORA, networks)
    text = path.read_text()
    for part in ("step 2 of stage 1, 64x64", "step 2 of stage 2, 128x128", "decoding the frames"):
        _, _, after = text.partition(part)
        assert "aten::" in after.partition("\n\n")[0], part


def test_what_is_not_measured_is_said() -> None:
    rows = dict(told({}))
    assert list(rows) == [row.name("full") for row in ROWS]
    assert all(text.startswith("**not measured**; floor ") for text in rows.values())
    assert len(rows) == len(ROWS)


def test_a_goal_is_met_or_missed() -> None:
    def side(total: float, decode: float) -> dict[str, Any]:
        seconds = {"total": total, "denoise": 10.0, "decode": decode, "loras": 0.0}
        return {"seconds": seconds, "totals": [total], "peak_bytes": 2**30}

    name = Row(request="lora").name("full")
    rows = dict(
        told(
            {
                name: {"ours": side(12.5, 0.7), "stock": side(20.0, 1.0)},
                f"{name}, 80 GB": {"ours": side(14.0, 0.7)},
                f"{name}, 24 GB": {"failed": "OutOfMemory: too little"},
            }
        )
    )
    assert "goal 13 s: met, 12.50" in rows[name]
    assert "goal decode 0.65 of stock: **missed**, 0.70" in rows[name]
    assert "goal 1.15x of all memory's time: met, 1.12" in rows[f"{name}, 80 GB"]
    assert rows[f"{name}, 24 GB"] == "failed: OutOfMemory: too little"


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    made = [build(tmp_path / name, "tiny", "ltx-2.3", CPU, torch.float32).components for name in ("a", "b")]
    for name in ("transformer", "vae", "text_encoder", "vocoder"):
        for one, other in zip(*(getattr(each, name).parameters() for each in made), strict=True):
            assert torch.equal(one, other)


PUBLISHED: dict[Family, dict[str, int]] = {
    "ltx-2": {
        "transformer": 18_876_174_592,
        "connectors": 1_431_475_200,
        "audio_vae": 53_248_402,
        "vocoder": 55_592_802,
    },
    "ltx-2.3": {
        "transformer": 18_988_838_144,
        "connectors": 3_172_227_584,
        "audio_vae": 53_248_402,
        "vocoder": 129_085_032,
    },
}
"""Numbers in the published files."""


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, names in PUBLISHED.items() for name in names])
def test_full_networks_have_the_published_size(family: Family, name: str) -> None:
    network = make_network(name, full_configurations(family)[name], META, torch.bfloat16)
    assert sum(value.numel() for value in network.state_dict().values()) == PUBLISHED[family][name]
