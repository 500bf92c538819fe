"""What moves when: blocks that stream by, and networks that come and go."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from stillmotion.engine.residency.blocks import BlockStream
from stillmotion.engine.residency.lanes import ImmediateLane, Mark, Pairs
from stillmotion.engine.residency.networks import Residency

CPU = torch.device("cpu")


class Recording(ImmediateLane):
    """Tells what was sent, by where it comes from."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.sent: list[int] = []

    def send(self, pairs: Pairs, after: Mark | None) -> None:
        pairs = list(pairs)
        self.sent.append(pairs[0][1].data_ptr())
        super().send(pairs, after)


@pytest.fixture
def stack() -> list[nn.Linear]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [nn.Linear(8, 8).requires_grad_(False) for _ in range(6)]


def run(blocks: Sequence[nn.Module], state: torch.Tensor | None = None) -> torch.Tensor:
    state = torch.ones(1, 8) if state is None else state
    for block in blocks:
        state = block(state)
    return state


@pytest.mark.parametrize("first", [0, 2, 4, 5])
def test_the_next_block_is_on_its_way_while_one_computes(stack: list[nn.Linear], first: int) -> None:
    homes = {block.weight.data_ptr(): index for index, block in enumerate(stack)}
    expected = run(stack)
    lane, at = Recording(), dict[int, list[int]]()
    stream = BlockStream(stack, first, lane)
    for index, block in enumerate(stack):
        block.register_forward_pre_hook(
            lambda module, args, index=index: at.__setitem__(index, [homes[place] for place in lane.sent])
        )
    assert torch.equal(run(stack), expected)
    for index in range(first, 6):
        assert at[index].count(index) == 1
        if index < 5:
            assert at[index][-1] == index + 1  # sent before this one computes
    if 0 < first < 5:
        assert at[0] == [first]  # while those that stay compute
    assert torch.equal(run(stack), expected)
    assert torch.equal(run(stack[3:]), run([*stack][3:]))
    stream.close()
    assert [block.weight.data_ptr() for block in stack] == list(homes)
    assert torch.equal(run(stack), expected)


def test_a_block_that_raises_leaves_its_weights_at_home(stack: list[nn.Linear]) -> None:
    homes = [block.weight.data_ptr() for block in stack]
    expected = run(stack)
    stream = BlockStream(stack, 1, Recording())
    with pytest.raises(RuntimeError, match="shape"):
        stack[3](torch.ones(1, 5))
    assert [block.weight.data_ptr() for block in stack] == homes
    assert torch.equal(run(stack), expected)
    stream.close()


def test_two_blocks_are_the_most_on_the_device(stack: list[nn.Linear]) -> None:
    stream = BlockStream(stack, 0, Recording())
    away: list[int] = []
    homes = [block.weight.data_ptr() for block in stack]
    for block in stack:
        block.register_forward_hook(
            lambda *_: away.append(
                sum(block.weight.data_ptr() != home for block, home in zip(stack, homes, strict=True))
            )
        )
    run(stack)
    assert set(away) <= {0, 1}
    assert stream.size == 2 * (256 + 256)  # a weight of 8 x 8 and a bias of 8, each from a multiple of 256 bytes on
    stream.close()


def networks() -> dict[str, nn.Module]:
    """Of 1, 2 and 4 KiB, biases aside."""
    return {name: nn.Linear(8, 32 * size, bias=False).requires_grad_(False) for name, size in SIZES.items()}


SIZES = {"a": 1, "b": 2, "c": 4}


def test_what_was_used_longest_ago_leaves_first() -> None:
    residency = Residency(networks(), Recording(), room=6 << 10, stacks={}, native=False)
    residency.bring("a")
    residency.bring("c")
    assert residency.held.keys() == {"a", "c"}
    residency.bring("b")
    assert residency.held == {"b": 2 << 10, "c": 4 << 10}
    residency.bring("a", beside=3 << 10)
    assert residency.held == {"a": 1 << 10, "b": 2 << 10}
    residency.bring("a", beside=5 << 10)
    assert residency.held == {"a": 1 << 10}


def test_a_network_that_was_loaded_on_the_device_gets_a_home_when_it_leaves() -> None:
    made = networks()
    values = {name: network.weight.clone() for name, network in made.items()}  # type: ignore[operator]
    residency = Residency(made, Recording(), room=5 << 10, stacks={}, native=True)
    assert residency.is_native("c")
    residency.at_home("c")
    assert residency.is_native("c")  # where it lies is where it may be changed
    residency.bring("a")
    residency.bring("b")
    residency.bring("c")
    residency.bring("b", "a", beside=2 << 10)
    assert residency.held == {"a": 1 << 10, "b": 2 << 10}
    assert not residency.is_native("c")
    for name, network in made.items():
        assert torch.equal(network.weight, values[name])  # type: ignore[arg-type]


class Stack(nn.Module):
    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Linear(8, 8, bias=False).requires_grad_(False)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(run(list(self.blocks), state))
        return result


def test_as_many_leading_blocks_stay_as_fit(stack: list[nn.Linear]) -> None:
    """Blocks and the rest are 512 and 256 bytes; two streamed ones are in slots of that size."""
    whole, lane = Stack(stack), Recording()
    expected = whole(torch.ones(1, 8))
    residency = Residency({"stack": whole}, lane, room=10_000, stacks={"stack": stack}, native=False)
    home = [block.weight.data_ptr() for block in stack]

    def staying() -> list[int]:
        return [index for index, block in enumerate(stack) if block.weight.data_ptr() != home[index]]

    # Work that leaves 3328 bytes or more: everything. Then one block less on the device for every 512 of them, but the
    # two slots; and with too little for even that, the least there is.
    for left, held, blocks in ((3328, 3328, 6), (3327, 2816, 3), (2815, 2304, 2), (1300, 1280, 0), (10, 1280, 0)):
        residency.bring("stack", beside=10_000 - left)
        assert residency.held == {"stack": held}
        assert staying() == list(range(blocks))
        assert torch.equal(whole(torch.ones(1, 8)), expected)
    residency.bring("stack", beside=10_000 - 2304)  # two blocks more are not worth another copy of the others
    assert staying() == []
    residency.bring("stack")
    assert staying() == list(range(6))
    assert torch.equal(whole(torch.ones(1, 8)), expected)
    residency.at_home("stack")
    assert staying() == []
    assert residency.held == {}
    assert torch.equal(whole(torch.ones(1, 8)), expected)


def test_failing_to_bring_a_network_leaves_it_at_home() -> None:
    class Full(Recording):
        def send(self, pairs: Pairs, after: Mark | None) -> None:
            raise MemoryError

    made = networks()
    places = {name: network.weight.data_ptr() for name, network in made.items()}  # type: ignore[operator]
    residency = Residency(made, Full(), room=1 << 20, stacks={}, native=False)
    with pytest.raises(MemoryError):
        residency.bring("a", "b")
    assert residency.held == {}
    assert {name: network.weight.data_ptr() for name, network in made.items()} == places  # type: ignore[operator]
