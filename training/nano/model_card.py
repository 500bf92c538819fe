"""The bundle's README: what it is, how it was made, what was measured, what it cannot do."""

import shutil
from pathlib import Path

from training.nano import checkpoint
from training.nano.run_folder import RunFolder

_TEXT = """---
license: apache-2.0
tags: [image-to-video, text-to-audio, ltx-2]
---
# nano

A very small image-to-video model with sound, in the classes and the layout of LTX-2. It moves the camera over one
picture, the way the prompt says, and makes a tone and a whoosh to it. It exists so that Stillmotion runs for real on
any laptop, and so that tests can measure what parameters do. It shows the machinery, not what the real models make.

- Seven camera moves: dolly in, dolly out, dolly left, dolly right, jib up, jib down, static; a prompt without one is
  static. The words slow and fast change how far the camera goes.
- A start image, an end image (a cross-dissolve with motion), image strength, seven camera LoRAs, a spatial upsampler.
- It computes up to 256 x 256 pixels and 25 frames; what is delivered beyond that is scaled.

## What it cannot do

Nothing in the picture moves by itself: people do not walk and water does not flow, whatever the prompt says. It reads
English camera words and little else. What the camera uncovers beyond the border is the picture mirrored. Fine texture
and sharp edges are lost to a latent of 48 to 1. The sound is synthetic and says only which way the camera goes.

## How it was made

Trained from nothing on generated data alone: drawn pictures (no photograph), exact warps of them, generated prompts
and generated sound. No data set and no weights from elsewhere. The program is `training/nano/` of Stillmotion;
`docs/nano.md` says how to run it. Seed {seed}, preset `{preset}`; steps: {steps}.

## Measured

{measured}
## Licence

Apache-2.0, as the file LICENSE says.
"""

_UNMEASURED = "Not measured yet: `python -m training.nano evaluate`.\n"
_PHASES = ("video", "sound", "sound-decoder", "text", "joint", "upsampler")


def write(run: RunFolder, folder: Path, evaluation: Path | None) -> None:
    measured = _UNMEASURED
    if evaluation is not None:
        measured = (evaluation / "evaluation.md").read_text(encoding="utf-8")
        for picture in sorted(evaluation.glob("sheet-*.jpg")):
            shutil.copy(picture, folder / picture.name)
            measured += f"\n![{picture.stem}]({picture.name})\n"
    text = _TEXT.format(seed=run.seed, preset=run.preset_name, steps=_steps(run.path), measured=measured)
    (folder / "README.md").write_text(text, encoding="utf-8")


def _steps(folder: Path) -> str:
    done = {path.stem: checkpoint.load(path)["step"] for path in folder.glob("*.pt") if path.stem != "basis"}
    named = [f"{phase} {done[phase]}" for phase in _PHASES if phase in done]
    named += [f"{phase} {steps}" for phase, steps in sorted(done.items()) if phase.startswith("lora-")]
    return ", ".join(named)
