"""``python -m training.nano prepare | train | evaluate | export``: see docs/nano.md."""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch

from training.nano import held_out, train
from training.nano.loop import Clock, print_line
from training.nano.presets import PRESETS
from training.nano.run_folder import DEFAULT, RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.command == "prepare":
        if not held_out.PATH.exists():
            held_out.write()
        train.prepare(RunFolder.create(options.run, options.preset, options.seed), print_line)
        return 0
    run = RunFolder.open(options.run)
    if options.command == "train":
        clock = _clock(options.minutes, options.until)
        done = train.train(run, options.phase, clock, torch.device(options.device), print_line, plan=options.plan)
        return 0 if done else _TIME_IS_UP
    if options.command == "evaluate":
        from training.nano import evaluate

        scope = evaluate.QUICK if options.quick else evaluate.Scope()
        evaluate.evaluate(run, options.out or run.path / "evaluation", print_line, scope)
        return 0
    from training.nano import export

    export.export(run, options.folder, evaluation=options.evaluation)
    print_line(f"{options.folder}: {export.size(options.folder) / 1e6:.1f} MB")
    return 0


_TIME_IS_UP = 3
"""Exit status of a slice that left something to do, so that a shell loop knows."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.nano", description="Train the nano checkpoint.")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="render the training clips")
    prepare.add_argument("--preset", choices=PRESETS, default="cpu")
    prepare.add_argument("--seed", type=int, default=0)
    training = commands.add_parser("train", help="train, in slices; exit status 3 when time was up first")
    training.add_argument("--phase", choices=("all", "loras", *train.PHASES), default="all")
    training.add_argument("--minutes", type=float, help="length of this slice")
    training.add_argument("--until", help="end of this slice, as HH:MM in UTC")
    training.add_argument("--device", default="cpu", help="cpu or cuda, where bf16 and compilation are used")
    training.add_argument("--plan", help="what to do next: MIX:STEPS[:decay],... or MIX:MINUTESm[:decay],...")
    evaluate = commands.add_parser("evaluate", help="measure the model; writes tables and pictures")
    evaluate.add_argument("--out", type=Path)
    evaluate.add_argument("--quick", action="store_true", help="few pictures, one size")
    export = commands.add_parser("export", help="write the bundle")
    export.add_argument("folder", type=Path)
    export.add_argument("--evaluation", type=Path, help="folder of evaluate's results, for the model card")
    for command in (prepare, training, evaluate, export):
        command.add_argument("--run", type=Path, default=DEFAULT, help=f"the run's folder (default: {DEFAULT})")
        command.add_argument("--threads", type=int, default=2)
    return parser


def _clock(minutes: float | None, until: str | None) -> Clock:
    ends = [time.time() + 60 * minutes] if minutes is not None else []
    if until is not None:
        now = datetime.now(UTC)
        hour, minute = (int(part) for part in until.split(":"))
        end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        ends.append((end if end > now else end + timedelta(days=1)).timestamp())
    return Clock(min(ends, default=float("inf")))


if __name__ == "__main__":
    sys.exit(main())
