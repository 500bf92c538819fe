"""A further process of an engine on several devices. ``python -m stillmotion.executor.follower RANK SIZE MEETING``

It computes every work that the first process computes, in lockstep, and delivers nothing.
"""

import faulthandler
import logging
import os
import sys
from pathlib import Path

from stillmotion.errors import OutOfMemory, StillmotionError
from stillmotion.executor.loaded import Engines, load_manifests, load_pictures
from stillmotion.executor.messages import Configure, Message, Run, decode
from stillmotion.job import Work
from stillmotion.media.confinement import end_with_parent
from stillmotion.media.recompress import recompress

logger = logging.getLogger(__name__)


def main() -> None:
    rank, size, meeting = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    faulthandler.enable()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    configure = _receive()
    if not isinstance(configure, Configure):
        return
    end_with_parent(configure.parent)
    from stillmotion.engine.components import choose_device
    from stillmotion.engine.parallel.group import join

    device = choose_device(configure.device)
    group = join(rank, size, meeting, device)
    engines = Engines(configure, load_manifests(configure), device=str(device), group=group)
    while isinstance(message := _receive(), Run):
        _follow(engines, message.work)
    os._exit(0)  # the first process has gone: nobody is left to take leave of


def _follow(engines: Engines, work: Work) -> None:
    """Raises what the others need not have met as well: then this process ends, and the engine with it."""
    from stillmotion.engine.sampler import Stopped

    try:
        engine, manifest = engines.get(work.job.model)
        engine.generate(
            work.job,
            {name: recompress(picture, manifest.image_crf) for name, picture in load_pictures(work).items()},
            loras={name: Path(path) for name, path in work.loras.items()},
            on_progress=lambda _: None,
            should_stop=engines.agreed(lambda: False),
        )
    except Stopped:
        pass
    except OutOfMemory:
        raise
    except StillmotionError as error:
        # A job that cannot be done is refused by all processes alike, before they first meet over it.
        logger.info("work %s: %s", work.id, error)


def _receive() -> Message | None:
    line = sys.stdin.buffer.readline()
    return decode(line) if line else None


if __name__ == "__main__":
    main()
