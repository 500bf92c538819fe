"""The section of ``bench.encode``."""

from bench import encode
from bench.report import Section

CONTAINERS = ("mp4", "webm", "mov", "gif")
LOST = 0.1
"""Decibels that our file may be worse than the command line's."""

METHOD = f"""Moving photographs under fresh grain, in high quality; the program that another would call is the ffmpeg
command line with the same codec settings and frames down a pipe: yuv420p, as our writer gets them from the engine,
and for MP4 also rgb24. On all cores. The variants take turns, and a ratio is the median of the rounds' own ratios, so
that a busy machine disturbs both sides alike. PSNR is that of the decoded pictures in RGB against those that went in.
Memory is the peak of a process that makes frames of {encode.MEMORY_WIDTH}x{encode.MEMORY_HEIGHT} and writes them in
the fast mode."""


def bench() -> Section:
    """FileNotFoundError without the ffmpeg command line."""
    ours, theirs = reversed(encode.versions(encode.find_ffmpeg()))
    found = [encode.bench(case) for case in encode.CASES]
    peaks = {name: [encode.peak_memory(name, count) for count in encode.MEMORY_FRAMES] for name in CONTAINERS[:3]}
    modes = {name: encode.seconds_by_mode(name) for name in CONTAINERS}
    short, long = encode.MEMORY_FRAMES
    rows = [row for each in found for row in _rows(each)]
    rows += [
        (f"{name}: seconds by write mode", ", ".join(f"{mode} {seconds:.2f}" for mode, seconds in times.items()))
        for name, times in modes.items()
    ]
    rows += [
        (f"{name}: peak memory", f"{low:.0f} MB at {short} frames, {high:.0f} MB at {long}")
        for name, (low, high) in peaks.items()
    ]
    rows.append(("versions", f"the command line {theirs}, our FFmpeg libraries {ours}"))
    return Section(title="writing the file", method=METHOD, rows=rows, faults=_faults(found))


def _rows(found: encode.Found) -> list[tuple[str, str]]:
    case = found.case
    name = f"{case.container}, {case.write_mode}, {case.width}x{case.height}"
    measured = [
        f"{label} {found.rates[variant]:.1f} fps, {found.psnr[variant]:.2f} dB, {found.sizes[variant] / 1e6:.2f} MB"
        for variant, label in (("ours", "ours"), ("cli", "ffmpeg"), ("cli_rgb", "ffmpeg fed rgb24"))
        if variant in found.rates
    ]
    ratios = ", ".join(
        f"{ratio:.2f}x {'fed rgb24' if variant == 'cli_rgb' else 'fed yuv420p'}"
        for variant, ratio in found.ratios.items()
    )
    return [(name, "; ".join(measured)), (f"{case.container}, {case.write_mode}: ours / ffmpeg", ratios)]


def _faults(found: list[encode.Found]) -> list[str]:
    """Pictures worse than the command line's: that does not depend on how busy the machine is, as speed does."""
    return [
        f"{each.case.container}: {each.psnr['ours']:.2f} dB, the command line {each.psnr['cli']:.2f} dB"
        for each in found
        if each.psnr["ours"] < each.psnr["cli"] - LOST
    ]
