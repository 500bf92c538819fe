"""The section of ``bench.encode``."""

from bench import encode
from bench.report import Section

METHOD = f"""Moving photographs under fresh grain at {encode.WIDTH}x{encode.HEIGHT}, libx264, preset veryfast, CRF 17,
on all cores; the program that another would call is the ffmpeg command line with frames down a pipe. The variants take
turns, and a ratio is the median of the rounds' own ratios, so that a busy machine disturbs both sides alike. The
engine hands planar YUV over, which it made while decoding; "from RGB" converts on the processor first."""


def bench() -> Section:
    """FileNotFoundError without the ffmpeg command line."""
    found = encode.bench()
    fps, psnr, size = found["fps"], found["psnr"], found["bytes"]

    def row(name: str) -> str:
        return f"{fps[name]:.1f} fps, {psnr[name]:.2f} dB PSNR of luma, {size[name] / 1e6:.2f} MB"

    return Section(
        title="writing the MP4 file",
        method=METHOD,
        rows=[
            ("our writer, from planes", row("ours")),
            ("our writer, from RGB", row("ours_rgb")),
            (f"ffmpeg {found['ffmpeg']}, fed rgb24", row("cli_rgb")),
            (f"ffmpeg {found['ffmpeg']}, fed yuv420p", row("cli_yuv")),
            ("ours / ffmpeg fed rgb24", f"{found['ratio_rgb']:.2f}x"),
            ("ours / ffmpeg fed yuv420p", f"{found['ratio_yuv']:.2f}x"),
            ("both from RGB", f"{found['ratio_both_rgb']:.2f}x"),
            ("frames, rounds", f"{found['frames']}, {found['rounds']}; our FFmpeg libraries: {found['library']}"),
        ],
    )
