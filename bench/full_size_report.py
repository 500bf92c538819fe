"""The section on full-size networks: what ``bench.full_size_run`` left in its file, and the harness tried here."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.floor import floor_seconds
from bench.full_size_rows import ROWS, Row, make_job
from bench.full_size_run import PICTURE, RESULTS, Budget, run
from bench.networks import Networks
from bench.report import Section

_TRIED = tuple(row for row in ROWS if row.stock and row.size == "large")
_TRIED_REPEATS = 3
_LORA, _EIGHT_BITS, _LIMITED = Row(request="lora", stock=True), Row(request="lora", float8=True), 80
_GOALS = {_LORA: 13.0, _EIGHT_BITS: 10.0}
"""Seconds, on one H200."""
_DECODE_GOAL, _LIMITED_GOAL = 0.65, 1.15
"""Of stock's decoding; and of the time with all of the memory."""
_PARTS = ("loras", "text", "image", "denoise", "stage 1", "stage 2", "upsample", "decode")

METHOD = f"""`python -m bench.full_size_run` on a machine with a GPU: networks in the published shapes of both families,
with random weights (Gemma 3 12B's shape included; its tokenizer is a byte tokenizer, every text is padded to 1024
tokens), the distilled LoRA of rank 384 as a file, and each endpoint's own plan for its defaults with a start image,
through `Engine.generate`, in bf16 with the sound's decoder in fp32. Not in it: prompt expansion, the safety checker and
the file's encoding. Stock is diffusers' LTX2ConditionPipeline, with LTX2LatentUpsamplePipeline between two stages, on
the same networks in the same process, each guidance parameter set so that it runs the passes that the plan wants and
no more (they are counted), taking turns; it puts no LoRA on, which the engine does. One shortened run of both to warm
up; medians; a new prompt each time. The floor is the arithmetic of the exact method over 790 TFLOP/s in linear layers,
650 in attention and 474 in the VAE, and over the rates that were measured on that machine (`bench/floor.py`,
`bench/rates.py`). Memory is the most that tensors took; "80 GB" and "24 GB" are limits
on the process, and after it stands where the engine's plan keeps the weights. With random
weights the steps that `high` and `full` skip say nothing. The last rows are the same harness on networks a thousandth
of the size on this machine's processor, with two steps where a schedule allows, {_TRIED_REPEATS} runs: they show that
it runs, not how fast anything is."""


def bench() -> Section:
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    rows = [("measured on", _machine(results)), *told(results["rows"])]
    with tempfile.TemporaryDirectory(prefix="stillmotion-bench-") as folder:
        tried = _tried(Path(folder))
    for row in _TRIED:
        name = row.name("tiny")
        rows.append((f"tiny, on the processor: {name}", _result(tried[name]) if name in tried else "**not measured**"))
    found = {**results["rows"], **tried}
    return Section(title="full-size networks", method=METHOD, rows=rows, faults=list(_faults(found)))


def _machine(results: Mapping[str, Any]) -> str:
    if "machine" not in results:
        return "no GPU yet"
    text = ", ".join(
        f"{value}" if name == "device" else f"{name} {value}" for name, value in results["machine"].items()
    )
    if results.get("rates"):
        text += "; " + ", ".join(f"{name} {rate / 1e12:.0f}" for name, rate in results["rates"].items()) + " TFLOP/s"
    return text


def told(rows: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every row that there is to be measured, in their order."""
    whole = {name: found["ours"]["seconds"]["total"] for name, found in rows.items() if "ours" in found}
    for row in ROWS:
        name = row.name("full")
        goal = _goal(row, rows.get(name, {}), whole)
        if name in rows:
            yield name, "; ".join(filter(None, (_result(rows[name]), goal, rows[name].get("date"))))
        else:
            yield name, "; ".join(filter(None, ("**not measured**", f"floor {_floor(row):.1f} s", goal)))


def _floor(row: Row) -> float:
    width_and_height = (1280, 704)
    return floor_seconds(make_job(row, "full", Networks.model(row), width_and_height), row.family)


def _result(found: Mapping[str, Any]) -> str:
    if "failed" in found:
        return f"failed: {found['failed']}"
    ours = found["ours"]
    told = [_side(ours, len(ours["totals"])) + (f", {found['memory']}" if found.get("memory") else "")]
    if "stock" in found:
        stock = found["stock"]
        told += [f"stock {_side(stock, None)}", f"of stock: {_ratios(ours['seconds'], stock['seconds'])}"]
    if "floor" in found:
        total = ours["seconds"]["total"]
        told.append("floor " + ", ".join(f"{s:.1f} s ({name}): {total / s:.2f}x" for name, s in found["floor"].items()))
    return "; ".join(told)


def _side(side: Mapping[str, Any], runs: int | None) -> str:
    seconds = side["seconds"]
    digits = 1 if seconds["total"] >= 1 else 2
    parts = [f"{name} {seconds[name]:.{digits + 1}f}" for name in _PARTS if name in seconds]
    told = f"{seconds['total']:.{digits}f} s ({', '.join(parts)})"
    if runs is not None:
        told += f", {runs} run{'s' if runs > 1 else ''} {min(side['totals']):.2f} to {max(side['totals']):.2f}"
    return told + (f", {side['peak_bytes'] / 2**30:.1f} GiB" if side["peak_bytes"] else "")


def _ratios(ours: Mapping[str, float], stock: Mapping[str, float]) -> str:
    spared = ours["total"] - ours["loras"]
    told = [f"total {ours['total'] / stock['total']:.2f}", f"without the LoRAs' time {spared / stock['total']:.2f}"]
    told += [
        f"{name} {ours[name] / stock[name]:.2f}" for name in ("denoise", "stage 1", "stage 2", "decode") if name in ours
    ]
    return ", ".join(told)


def _goal(row: Row, found: Mapping[str, Any], whole: Mapping[str, float]) -> str:
    """The goals that a row has, and whether they are met where it was measured."""
    total = whole.get(row.name("full"))
    goals = []
    if row in _GOALS:
        goals.append((f"{_GOALS[row]:g} s", total, _GOALS[row]))
    if row.stock:
        ratio = found["ours"]["seconds"]["decode"] / found["stock"]["seconds"]["decode"] if "stock" in found else None
        goals.append((f"decode {_DECODE_GOAL} of stock", ratio, _DECODE_GOAL))
    if row.gigabytes == _LIMITED:
        all_of_it = whole.get(replace(row, gigabytes=None).name("full"))
        ratio = total / all_of_it if total and all_of_it else None
        goals.append((f"{_LIMITED_GOAL}x of all memory's time", ratio, _LIMITED_GOAL))
    return "; ".join(f"goal {what}{_verdict(value, most)}" for what, value, most in goals)


def _verdict(value: float | None, most: float) -> str:
    if value is None:
        return ""
    return f": {'met' if value <= most else '**missed**'}, {value:.2f}"


def _tried(folder: Path) -> dict[str, Any]:
    """The harness itself on this machine's processor."""
    path = folder / "results.json"
    networks = Networks(folder, "tiny", torch.device("cpu"), torch.float32, PICTURE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on layers this small two threads mostly wait for each other
    try:
        run(path, _TRIED, networks, scale="tiny", repeats=_TRIED_REPEATS, budget=Budget(120))
    finally:
        torch.set_num_threads(threads)
    found: dict[str, Any] = json.loads(path.read_text())["rows"]
    return found


def _faults(rows: Mapping[str, Any]) -> Iterator[str]:
    for name, found in rows.items():
        passes = found.get("passes", {})
        if passes and passes["stock"] != passes["needed"]:
            yield f"{name}: stock ran {passes['stock']} passes, the plan wants {passes['needed']}: no fair ratio"
