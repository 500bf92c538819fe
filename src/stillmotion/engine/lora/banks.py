"""Merged weights, held in sets, and the pristine ones that all of them are made from.

A layer has versions: the pristine one, and one for each combination of files and scales that touches it. A set picks
one version of every layer. Sets that were used are held, least recently used dropped first, as long as they fit
``keep_bytes`` beside the networks' own memory: to change between two held sets moves pointers and computes nothing.
The pristine set is one of them; when its memory is wanted it goes to the host, pinned where that speeds up its way
back, and is copied from there for ever after, never computed: what a file added is not subtracted again.

With no room for a second set the next one is written over the last, layer by layer, in the same memory. Compiled
graphs and captured pointers stay valid then.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from stillmotion.engine.lora.merge import MERGEABLE, Term, merge
from stillmotion.engine.lora.names import Target

Key = tuple[tuple[str, float], ...]
"""Files' sha256 and scales, in order; ``()`` is pristine."""
PRISTINE: Key = ()


def key_of(terms: Sequence[Term]) -> Key:
    return tuple((term.file.sha256, term.scale) for term in terms)


class _Layer:
    """One layer's weight and its versions."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.versions: dict[Key, Tensor] = {PRISTINE: target.module.weight.data}
        self._host: Tensor | None = None

    @property
    def live(self) -> Tensor:
        return self.target.module.weight.data

    @property
    def size(self) -> int:
        return self.live.nbytes

    @property
    def pristine(self) -> Tensor:
        kept = self.versions.get(PRISTINE, self._host)
        assert kept is not None, "the pristine weight is saved before it is let go"
        return kept

    def point(self, key: Key) -> None:
        self.target.module.weight.data = self.versions[key]

    def moved(self, key: Key) -> bool:
        """Whether the weight lies elsewhere than ``key``'s version, where this module left it."""
        held, live = self.versions[key], self.live
        return live.data_ptr() != held.data_ptr() or live.device != held.device

    def follow(self, key: Key) -> None:
        """Takes the weight as ``key``'s version where it lies now; the others went with the old place."""
        if key != PRISTINE:
            self._save()
        self.versions = {key: self.live}

    def take(self, key: Key) -> Tensor:
        """Gives up a version; its memory may be written."""
        if key == PRISTINE:
            self._save()
        return self.versions.pop(key)

    def restore(self) -> None:
        """Pristine in any case, and nothing else; takes no memory on the device."""
        if PRISTINE in self.versions:
            self.point(PRISTINE)
        else:
            self.live.copy_(self.pristine)
        self.versions = {PRISTINE: self.live}

    def _save(self) -> None:
        if self._host is None:
            weight = self.versions[PRISTINE]
            self._host = torch.empty_like(weight, device="cpu", pin_memory=weight.is_cuda).copy_(weight)


class Banks:
    """The weights of all layers that were ever touched.

    ``keep_bytes``: memory for more versions than the one that each layer has anyway, where the layers are.
    ``host_bytes``: memory for pristine weights on the host; ``None``: any. ``device``: where sums are computed;
    ``None``: where the layer is.
    """

    def __init__(self, *, keep_bytes: int, host_bytes: int | None, device: torch.device | None) -> None:
        self._keep_bytes, self._host_bytes, self._device = keep_bytes, host_bytes, device
        self._layers: dict[Target, _Layer] = {}
        # Of each held set the versions that are not pristine; least recently used first.
        self._held: OrderedDict[Key, Mapping[Target, Key]] = OrderedDict({PRISTINE: {}})
        self._active = PRISTINE

    @property
    def active(self) -> Key:
        return self._active

    def fit(self, targets: Mapping[Target, Sequence[Term]]) -> bool:
        """Whether these layers can be merged at all: pristine weights need a place beside the merged ones."""
        if any(target.module.weight.dtype not in MERGEABLE for target in targets):
            return False
        if self._can_save(targets):
            return True
        return sum(target.module.weight.nbytes for target in targets) <= self._keep_bytes

    def activate(self, targets: Mapping[Target, Sequence[Term]], key: Key) -> int:
        """Gives every layer its version of the set ``key``; returns how many layers had to be computed or copied.

        If it fails, the weights are those of before, or pristine where these had been given up; ``active`` tells.
        """
        self._follow_moves()
        if key != PRISTINE and PRISTINE not in self._held and not self._can_save(targets):
            # The host has too little memory for these layers, too: from here on the pristine set stays.
            self.activate({}, PRISTINE)
        for target in targets:
            self._layers.setdefault(target, _Layer(target))
        wanted = {target: key_of(terms) for target, terms in targets.items()}
        present: list[_Layer] = []
        missing: list[_Layer] = []
        for layer in self._layers.values():
            (present if wanted.get(layer.target, PRISTINE) in layer.versions else missing).append(layer)
        try:
            self._make_room(sum(layer.size for layer in missing), key)
            self._held[key] = wanted
            if self._active not in self._held:
                # There is no way back to it. What it alone needed is freed before anything is allocated.
                self._point(key, present)
            self._drop_dead()
            for layer in missing:
                self._write(layer, targets.get(layer.target, ()), wanted.get(layer.target, PRISTINE))
            self._point(key, self._layers.values())
            self._drop_dead()
        except BaseException:
            self._recover(key)
            raise
        self._held.move_to_end(key)
        self._active = key
        return len(missing)

    def release(self) -> None:
        """Gives up every set but the active one, and the pristine one where the host has no room for it."""
        self._follow_moves()
        kept = {self._active} if self._can_save(()) else {self._active, PRISTINE}
        self._held = OrderedDict((key, versions) for key, versions in self._held.items() if key in kept)
        self._drop_dead()

    def _follow_moves(self) -> None:
        """Somebody may have moved a network to another device and back."""
        for layer in self._layers.values():
            version = self._version(self._active, layer)
            if layer.moved(version):
                layer.follow(version)

    def _make_room(self, needed: int, key: Key) -> None:
        """Lets sets go until ``needed`` more bytes fit, or none but ``key`` is left."""
        can_save = self._can_save(())
        for candidate in tuple(self._held):
            if self._extra() + needed <= self._keep_bytes:
                return
            if candidate != key and (can_save or candidate != PRISTINE):
                del self._held[candidate]

    def _can_save(self, more: Iterable[Target]) -> bool:
        """Whether the host can have the pristine weights of all layers, ``more`` among them."""
        size = sum(target.module.weight.nbytes for target in {*self._layers, *more})
        return self._host_bytes is None or size <= self._host_bytes

    def _extra(self) -> int:
        """Bytes of the versions that held sets need, beyond one for each layer."""
        count = sum(layer.size * len(self._needed(layer) & layer.versions.keys()) for layer in self._layers.values())
        return count - sum(layer.size for layer in self._layers.values())

    def _needed(self, layer: _Layer) -> set[Key]:
        return {self._version(key, layer) for key in self._held}

    def _version(self, key: Key, layer: _Layer) -> Key:
        return self._held[key].get(layer.target, PRISTINE)

    def _write(self, layer: _Layer, terms: Sequence[Term], version: Key) -> None:
        source = layer.pristine
        spare = next(iter(layer.versions.keys() - self._needed(layer)), None)
        into = torch.empty_like(layer.live) if spare is None else layer.take(spare)
        if terms:
            merge(layer.target, source, terms, into, self._device or layer.live.device)
        else:
            into.copy_(source)
        layer.versions[version] = into

    def _point(self, key: Key, layers: Iterable[_Layer]) -> None:
        for layer in layers:
            layer.point(self._version(key, layer))

    def _drop_dead(self) -> None:
        """Lets versions go that no held set needs. What the networks compute with is never taken from under them."""
        for layer in self._layers.values():
            for version in layer.versions.keys() - self._needed(layer):
                if layer.versions[version].data_ptr() != layer.live.data_ptr():
                    layer.take(version)

    def _recover(self, failed: Key) -> None:
        if self._active != failed and self._active in self._held:
            self._held.pop(failed, None)
            self._point(self._active, self._layers.values())
            self._drop_dead()
            return
        for layer in self._layers.values():
            layer.restore()
        self._held = OrderedDict({PRISTINE: {}})
        self._active = PRISTINE
