"""Where the time goes inside a step and inside decoding, by operator."""

from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from bench.full_size_rows import Row, make_job, shortened
from bench.networks import Networks
from stillmotion.job import Progress

_STEPS = 2
"""In each stage: the second is profiled, as the first makes what later ones remember."""
_OPERATORS = 40


def write(path: Path, row: Row, networks: Networks) -> None:
    """A table for the second step of each stage, and one for decoding the frames, after a run to warm up."""
    engine, image = networks.engine(row), networks.picture
    on_gpu = networks.device.type == "cuda"
    job = shortened(make_job(row, networks.scale, engine.manifest.model(), (image.shape[1], image.shape[0])), _STEPS)
    tables: dict[str, str] = {}
    profiler: list[profile] = []

    def begin() -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        profiler.append(profile(activities=activities))
        profiler[-1].start()

    def end(name: str) -> None:
        profiler[-1].stop()
        by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        averages = profiler.pop().key_averages()
        tables[name] = averages.table(sort_by=by, row_limit=_OPERATORS, max_name_column_width=80)

    def step_ended(progress: Progress) -> None:
        if progress.step == 1:
            begin()
        elif progress.step == _STEPS:
            stage = job.stages[progress.stage]
            end(f"step {_STEPS} of stage {progress.stage + 1}, {stage.width}x{stage.height}")

    def quiet(progress: Progress) -> None:
        """The profile tells it all."""

    for on_progress in (quiet, step_ended):
        generation = engine.generate(
            job, {"image_url": image}, on_progress=on_progress, should_stop=lambda: False, on_log=lambda line: None
        )
        if on_progress is step_ended:
            begin()
        for _ in generation.frames:
            pass
    end("decoding the frames")
    name = row.name(networks.scale)
    path.write_text("\n\n".join([name, *(f"{what}\n{table}" for what, table in tables.items())]) + "\n")
