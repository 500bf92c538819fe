"""The engine's process: its death, its parent's death, its hangs, and its configuration."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from stillmotion.errors import BundleError, ConfigurationError
from stillmotion.executor.host import is_sticky
from stillmotion.executor.process import Backoff, ProcessExecutor
from stillmotion.job import Cancelled, Done, Event, Failed, Log, Progress, Work

pytestmark = pytest.mark.asyncio(loop_scope="module")

MakeWork = Callable[..., Work]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def executor(bundle: Path) -> AsyncIterator[ProcessExecutor]:
    """One whose child may be killed: the next test gets another."""
    executor = ProcessExecutor(bundles={"small": bundle}, device="cpu", threads=2, cancel_grace=0.5)
    yield executor
    await executor.close()


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits for what another process does, which sends no event."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def running(executor: ProcessExecutor) -> int:
    assert executor.pid is not None
    return executor.pid


async def test_a_work_can_be_cancelled_before_its_model_is_loaded(
    executor: ProcessExecutor, make_work: MakeWork, collect
) -> None:
    run = asyncio.create_task(collect(executor, make_work()))
    await until(lambda: executor.pid is not None)
    pid = executor.pid
    await executor.cancel("work")
    assert await run == [Cancelled()]
    await asyncio.sleep(0.6)  # longer than the grace: a load that goes on is not a work that hangs
    assert executor.pid == pid


async def test_models_bear_the_names_they_were_configured_under(executor: ProcessExecutor) -> None:
    told = await executor.capabilities()
    assert (told.slots, [(model.name, model.family) for model in told.models]) == (1, [("small", "ltx-2")])


async def test_a_model_it_does_not_have_is_the_jobs_fault(
    executor: ProcessExecutor, make_work: MakeWork, collect
) -> None:
    end = (await collect(executor, make_work(model="large")))[-1]
    assert isinstance(end, Failed)
    assert (end.kind, end.fatal) == ("bundle_error", False)
    assert "'large'" in end.message


async def test_the_log_names_process_device_model_and_steps(
    executor: ProcessExecutor, make_work: MakeWork, collect
) -> None:
    events = await collect(executor, make_work(steps=3))
    messages = [event.message for event in events if isinstance(event, Log)]
    assert messages[0] == f"engine process {executor.pid} on cpu, model small, seed 1"
    assert [message for message in messages if "denoising" in message] == [
        f"denoising step {step} of 3" for step in (1, 2, 3)
    ]
    assert messages[-1].startswith("seconds: ")


async def test_a_killed_engine_costs_one_attempt_and_is_replaced(
    executor: ProcessExecutor, make_work: MakeWork, collect
) -> None:
    pids: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and not pids:
            pids.append(running(executor))
            os.kill(pids[0], signal.SIGKILL)

    work = make_work(steps=400)
    async with asyncio.timeout(60):
        end = (await collect(executor, work, kill))[-1]
    assert end == Failed(kind="engine_lost", message="The engine process ended (signal SIGKILL).", fatal=True)
    assert not psutil.pid_exists(pids[0])  # reaped: no zombie
    assert isinstance((await collect(executor, make_work()))[-1], Done)
    assert executor.pid not in (None, pids[0])


async def test_an_engine_that_hangs_is_killed_after_the_grace(
    executor: ProcessExecutor, make_work: MakeWork, collect
) -> None:
    frozen: list[int] = []

    async def freeze(event: Event) -> None:
        if isinstance(event, Progress) and not frozen:
            frozen.append(running(executor))
            os.kill(frozen[0], signal.SIGSTOP)
            await executor.cancel("work")

    async with asyncio.timeout(60):
        events = await collect(executor, make_work(steps=400), freeze)
    assert events[-1] == Cancelled()
    assert executor.pid is None


async def test_a_crash_while_loading_is_explained(executor: ProcessExecutor, make_work: MakeWork, collect) -> None:
    """The last lines of stderr are in the message: here where the interpreter was when it was hit."""
    run = asyncio.create_task(collect(executor, make_work()))
    await until(lambda: executor.pid is not None and is_loading(executor.pid))
    os.kill(running(executor), signal.SIGABRT)
    end = (await run)[-1]
    assert isinstance(end, Failed)
    assert (end.kind, end.fatal) == ("engine_lost", True)
    assert "while it was loading (signal SIGABRT)" in end.message
    assert "host.py" in end.message
    assert "in main" in end.message


async def test_close_ends_the_engine_and_what_runs(executor: ProcessExecutor, make_work: MakeWork, collect) -> None:
    """Last of this file's tests of the shared executor. It waits out a back-off of one second first."""
    pids: list[int] = []

    async def close(event: Event) -> None:
        if isinstance(event, Progress) and not pids:
            pids.append(running(executor))
            await executor.close()

    end = (await collect(executor, make_work(steps=400), close))[-1]
    lost = Failed(kind="engine_lost", message="The engine was shut down.", fatal=True)
    assert end == lost
    assert not psutil.pid_exists(pids[0])
    assert await collect(executor, make_work()) == [lost]


async def test_the_engine_ends_with_its_parent(bundle: Path) -> None:
    program = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "from stillmotion.executor.process import ProcessExecutor\n"
        "async def main():\n"
        "    executor = ProcessExecutor(bundles={'small': Path(sys.argv[1])}, device='cpu')\n"
        "    await executor.capabilities()\n"
        "    print(json.dumps(executor.pid), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(bundle), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = json.loads(await asyncio.wait_for(parent.stdout.readline(), 30))
    assert psutil.pid_exists(child)
    parent.kill()
    await parent.wait()
    await until(lambda: not psutil.pid_exists(child), 10)


async def test_a_bundle_that_is_missing_is_told_at_once(tmp_path: Path, make_work: MakeWork, collect) -> None:
    executor = ProcessExecutor(bundles={"small": tmp_path / "absent"})
    with pytest.raises(BundleError, match="absent"):
        await executor.capabilities()
    end = (await collect(executor, make_work()))[-1]
    assert isinstance(end, Failed)
    assert (end.kind, end.fatal) == ("bundle_error", False)
    await executor.close()


async def test_no_bundle_at_all_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        await ProcessExecutor(bundles={}).capabilities()


async def test_closing_what_never_ran_is_nothing(bundle: Path) -> None:
    executor = ProcessExecutor(bundles={"small": bundle})
    await executor.close()
    assert executor.pid is None


async def test_the_pause_doubles_until_an_engine_proves_fit() -> None:
    backoff = Backoff(longest=10)
    assert [backoff.died() for _ in range(7)] == [0, 1, 2, 4, 8, 10, 10]
    backoff.proved_fit()
    assert backoff.died() == 0


async def test_only_errors_that_cuda_repeats_are_sticky() -> None:
    sticky = RuntimeError("CUDA error: an illegal memory access was encountered")
    wrapped = ValueError("decoding failed")
    wrapped.__cause__ = sticky
    assert is_sticky(sticky)
    assert is_sticky(wrapped)
    assert not is_sticky(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert not is_sticky(None)


async def test_the_platform_does_not_import_torch() -> None:
    program = "import sys, stillmotion.executor.process, stillmotion.executor.mock; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=30)  # noqa: ASYNC221
    assert done.returncode == 0


def is_loading(pid: int) -> bool:
    """Whether the child has begun to import torch: faulthandler is on by then."""
    return any("libtorch" in mapped.path for mapped in psutil.Process(pid).memory_maps())
