"""Pictures to look at: frames of clips in rows, and curves of what was lost."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#7d3c98", "#b7950b")
_WIDTH, _HEIGHT, _MARGIN = 720, 300, 45


def contact_sheet(path: Path, clips: Sequence[tuple[str, Tensor]], columns: int = 6, height: int = 128) -> None:
    """A row for each (label, (3, frames, rows, columns) in -1..1): evenly spaced frames, from the first to the last."""
    rows = []
    for label, clip in clips:
        chosen = torch.linspace(0, clip.shape[1] - 1, columns).round().long()
        frames = [_image(clip[:, index], height) for index in chosen]
        row = Image.new("RGB", (sum(frame.width + 2 for frame in frames) + 90, height + 2), "white")
        ImageDraw.Draw(row).text((4, height // 2 - 6), label, fill="black", font=ImageFont.load_default(size=12))
        left = 90
        for frame in frames:
            row.paste(frame, (left, 1))
            left += frame.width + 2
        rows.append(row)
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.save(path, quality=88)


def _image(frame: Tensor, height: int) -> Image.Image:
    pixels = ((frame.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS)


def curves(path: Path, log: Path) -> None:
    """Every logged value of a phase over its steps, each scaled to its own range, which the legend names."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    names = [name for name in rows[-1] if name not in ("step", "time", "norm")]
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=12)
    right, bottom = _WIDTH - _MARGIN, _HEIGHT - _MARGIN
    draw.rectangle((_MARGIN, _MARGIN, right, bottom), outline="#999999")
    last = max(row["step"] for row in rows)
    for index, name in enumerate(names):
        points = [(row["step"], row[name]) for row in rows if name in row]
        low, high = min(value for _, value in points), max(value for _, value in points)
        scaled = [
            (
                _MARGIN + (right - _MARGIN) * step / max(1, last),
                bottom - (bottom - _MARGIN) * (value - low) / max(1e-9, high - low),
            )
            for step, value in points
        ]
        colour = _COLOURS[index % len(_COLOURS)]
        if len(scaled) > 1:
            draw.line(scaled, fill=colour, width=2)
        draw.text((_MARGIN + 230 * index, 14), f"{name}: {low:.3g} to {high:.3g}", fill=colour, font=font)
    draw.text((_MARGIN, bottom + 12), f"{log.stem}: {last} steps", fill="black", font=font)
    image.save(path)
