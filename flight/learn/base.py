"""The contract of every learner: chips and municipalities in, label sets in, class proportions out.

A learner's final weights are a function of sets: of the chips it was given (with their numbers), of the last label set
and of its seed. They do not depend on how chips, labels, training slices and restarts were interleaved.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from flight.kernels.backend import AOT, JIT, NUMPY, Backend
from flight.learn import checks, state
from flight.learn.features import check_chip_shape
from flight.learn.grid import Encoder
from flight.learn.state import StateError

_MAX_COUNT = 1 << 62
_GREATEST = 1e12  # of any value of a learner: beyond it training has diverged


class NotReadyError(RuntimeError):
    """A prediction was asked of a learner that has nothing to learn from yet; the message says what is missing."""


class Learner(ABC):
    """Learns class proportions of chips from those of municipalities.

    ``__init__`` of a subclass stores its arguments, `seed` and `max_municipalities` among them, and does nothing else.

    Attributes:
        name: key of the class in `flight.learn.LEARNERS`.
        region_id: region that the municipalities belong to; goes into the state, is not interpreted.
        task_id, version: of the last label set.
        chip_shape_: (height, width, bands), fixed by the first chips; None before.
        labels_: float32 (n_municipalities, n_classes), the last label set; None before.
        n_chips_: chips given so far.
        backend, encoder: what computes, and what chips are seen through, see `use`; numpy and none unless told.
        takes_encoder: whether an encoder can be used.
        scratch: paths of arrays that any call may write over in place, such as "_embedding._phi".
        absorbed, trained: of those that `partial_fit` and `train` write in place as well. All others they leave as they
            are, or put new ones there: by that `flight.guard` tells their work from what radiation does.
    """

    name: ClassVar[str]
    takes_encoder: ClassVar[bool] = False
    scratch: ClassVar[tuple[str, ...]] = ()
    absorbed: ClassVar[tuple[str, ...]] = ()
    trained: ClassVar[tuple[str, ...]] = ()
    seed: int
    max_municipalities: int
    region_id: int = 0
    task_id: int = 0
    version: int = 0
    chip_shape_: tuple[int, int, int] | None = None
    labels_: NDArray[np.float32] | None = None
    n_chips_: int = 0
    backend: Backend = Backend(NUMPY)
    encoder: Encoder | None = None

    def __init__(self, *, seed: int = 0, max_municipalities: int = 65535) -> None:
        self.seed = seed
        self.max_municipalities = max_municipalities

    def use(self, backend: Backend, encoder: Encoder | None = None) -> Self:
        """Compute with `backend` (`flight.kernels.backend.choose`) and through `encoder`, from before the first chips.

        Compiled kernels give the same bits on every machine, whether `aot` or `jit`; numpy gives other ones. So a
        learner that has chips may not change between the two, nor to another encoder, or to none: ValueError. So it is
        for an encoder, and a learner that sees but raw patches.
        """
        if encoder is not None and not self.takes_encoder:
            raise ValueError(f"{self.name} learns from raw patches, and can use no encoder")
        if self.chip_shape_ is not None and backend.compiled != self.backend.compiled:
            raise ValueError(f"{self.name} has begun with {self.backend.name}, and cannot go on with {backend.name}")
        if self.chip_shape_ is not None and _digest(encoder) != _digest(self.encoder):
            raise ValueError(
                f"{self.name} has begun with {_digest(self.encoder)}, and cannot go on with {_digest(encoder)}"
            )
        self.backend, self.encoder = backend, encoder
        return self

    def partial_fit(self, chips: object, bag: object, weight: object = None, *, number: object = None) -> Self:
        """Take in chips, whatever labels there are.

        Args:
            chips: uint8 (n, height, width, n_bands); sides multiples of 4 from 16 to 512, 1 to 13 bands, as before.
            bag: int32 (n,) or (n, k), municipalities of each chip, padded with -1; a chip may have none.
            weight: float32 like `bag`, share of the chip in each municipality, rows sum to 1; default: equal shares.
            number: int64 (n,), the chips' numbers, each given once; default: a running count.

        Raises:
            TypeError, ValueError: name the argument, where it is wrong and what was expected; nothing was taken in.
        """
        images = self._check_chips(chips)
        bags = checks.check_bags(bag, len(images), self.max_municipalities)
        weights = checks.check_weights(weight, bags)
        if number is None:
            number = np.arange(self.n_chips_, self.n_chips_ + len(images))
        numbers = checks.check_numbers(number, len(images))
        if self.chip_shape_ is None:
            self._begin(images.shape[1:])
        self._absorb(images, bags, weights, numbers)
        self.n_chips_ += len(images)
        return self

    def set_labels(self, proportions: object, *, task_id: int = 0, version: int = 0) -> Self:
        """Take a label set; it replaces the last one. Another task or number of classes is another head.

        Args:
            proportions: float (n_municipalities, n_classes), rows on the simplex, NaN throughout where missing.
            task_id: number of the task.
            version: version of the label set; the weights do not depend on it.
        """
        self._check_params()
        for argument, value in (("task_id", task_id), ("version", version)):
            if not 0 <= value < _MAX_COUNT:
                raise ValueError(f"{argument}: {value} is not from 0 to {_MAX_COUNT - 1}")
        table = checks.check_proportions(proportions, self.max_municipalities)
        same = self.labels_ is not None and task_id == self.task_id and _same_bits(table, self.labels_)
        self.task_id, self.version = int(task_id), int(version)
        if not same:
            self.labels_ = table
            self._restart()
        return self

    @property
    def ready(self) -> bool:
        """Whether there is enough to learn from, so that predictions can be asked for."""
        return not self._lacks()

    @property
    @abstractmethod
    def pending_steps(self) -> int:
        """Training steps until the weights are final; 0 as well while there is nothing to learn from."""

    def train(self, max_steps: int) -> int:
        """Do up to `max_steps` of the pending steps; returns how many were done."""
        if max_steps < 0:
            raise ValueError(f"max_steps: {max_steps} is negative")
        steps = min(int(max_steps), self.pending_steps)
        if steps:
            self._train(steps)
        return steps

    def predict(self, chips: object) -> NDArray[np.float32]:
        """Class proportions (n, n_classes) of `chips`, rows on the simplex; finishes pending training first."""
        images = self._check_chips(chips)
        return self._predict_chips(images, self._finish())

    def predict_map(self, chips: object) -> NDArray[np.float32]:
        """Class proportions (n, rows, cols, n_classes) of the 4 x 4 pixel cells, each on the simplex."""
        images = self._check_chips(chips)
        n_classes = self._finish()
        rows, cols = self._map_shape()
        return _stack((self._predict_cells(chip) for chip in images), len(images), (rows, cols, n_classes))

    def summarise(self, chips: object) -> NDArray[np.uint8] | None:
        """A summary (n, s) of each chip that later tasks can be predicted from, or None if this learner has none."""
        self._check_chips(chips)
        return None

    def predict_summaries(self, summaries: object) -> NDArray[np.float32]:
        """Class proportions (n, n_classes) from what `summarise` returned; TypeError if it returned None."""
        raise TypeError(f"{self.name} makes no summaries")

    @property
    def n_classes_(self) -> int:
        """Classes of the last label set; 0 before."""
        return 0 if self.labels_ is None else int(self.labels_.shape[1])

    @property
    def n_parameters(self) -> int:
        """Trained parameters for the present number of bands and classes; by default those of trained weights."""
        return sum(array.size for array in self._weight_arrays()) if self.ready and not self.pending_steps else 0

    @property
    def n_bytes(self) -> int:
        """Bytes of memory in the arrays that the learner keeps; by default those of its state."""
        return sum(array.nbytes for array in self._arrays().values()) if self.chip_shape_ else 0

    def weights(self) -> bytes:
        """The trained weights, little-endian, one after another; finishes pending training first."""
        self._finish()
        return b"".join(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in self._weight_arrays())

    def diverged(self) -> str:
        """The name of an array of the state with a value that is no number, or beyond 1e12; empty if there is none."""
        for name, array in self._arrays().items() if self.chip_shape_ else ():
            if array.dtype.kind == "f" and array.size and not -_GREATEST < array.min() <= array.max() < _GREATEST:
                return name
        return ""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of `weights()`, hexadecimal."""
        return hashlib.sha256(self.weights()).hexdigest()

    def params(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def state(self) -> bytes:
        """Everything, so that `from_state` goes on as if nothing had happened, in the middle of training too."""
        return b"".join(self.state_parts())

    def state_parts(self) -> list[bytes | memoryview]:
        """As `state`, in parts that share the learner's memory: to be written before it takes in or trains more."""
        self._check_params()
        if not 0 <= self.region_id < _MAX_COUNT:
            raise ValueError(f"region_id: {self.region_id} is not from 0 to {_MAX_COUNT - 1}")
        header = {
            "learner": self.name,
            "params": self.params(),
            "seed": self.seed,
            "backend": self.backend.name,
            "features": self._feature_digest() if self.chip_shape_ else "",
            "region_id": self.region_id,
            "task_id": self.task_id,
            "label_version": self.version,
            "chip_shape": list(self.chip_shape_ or ()),
            "n_chips": self.n_chips_,
        }
        arrays: dict[str, NDArray[Any]] = {} if self.labels_ is None else {"labels": self.labels_}
        return state.parts(header, arrays | (self._arrays() if self.chip_shape_ else {}))

    @classmethod
    def from_state(cls, data: bytes, backend: Backend | None = None, encoder: Encoder | None = None) -> Self:
        """The learner whose `state()` was `data`, to go on with `backend`, or to be looked at with numpy.

        StateError if it is none, one of another class, one that saw chips through another encoder than `encoder`, or,
        if `backend` is given, one that compiled kernels made where that has none, or the other way round: their bits
        differ.
        """
        header, arrays = state.unpack(data)
        if header.get("learner") != cls.name:
            raise StateError(f"state is of learner {header.get('learner')!r}, expected {cls.name!r}")
        made = header.get("backend")
        using = backend or cls.backend
        if made not in (AOT, JIT, NUMPY) or (backend is not None and (made != NUMPY) != backend.compiled):
            raise StateError(f"state was made by backend {made!r}, this one is {using.name!r}")
        try:
            learner = cls._with_params(header.get("params")).use(using, encoder)
            learner._restore(header, arrays)
        except StateError:
            raise
        except (TypeError, ValueError) as error:
            raise StateError(f"state does not fit {cls.name}: {error}") from error
        if arrays:
            raise StateError(f"state has unknown arrays {', '.join(sorted(arrays))}")
        return learner

    @classmethod
    def _with_params(cls, params: Any) -> Self:
        known = inspect.signature(cls).parameters
        if not isinstance(params, dict) or set(params) != set(known):
            raise StateError(f"state of {cls.name}: params must be {', '.join(known)}")
        for name, value in params.items():
            if type(value) is not type(known[name].default):
                raise StateError(f"state of {cls.name}: params.{name} is {value!r}")
        learner = cls(**params)
        learner._check_params()
        return learner

    def _restore(self, header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        for attribute, key in (
            ("region_id", "region_id"), ("task_id", "task_id"), ("version", "label_version"), ("n_chips_", "n_chips")
        ):  # fmt: skip
            value = header.get(key)
            if type(value) is not int or not 0 <= value < _MAX_COUNT:
                raise StateError(f"state header: {key} is {value!r}, expected a count")
            setattr(self, attribute, value)
        if "labels" in arrays:
            self.labels_ = checks.check_proportions(
                state.take(arrays, "labels", "float32", (None, None)), self.max_municipalities
            )
        shape = header.get("chip_shape")
        if not isinstance(shape, list) or not all(type(side) is int for side in shape):
            raise StateError(f"state header: chip_shape is {shape!r}")
        if not shape:
            return
        self._begin(check_chip_shape(tuple(shape), "chip_shape"))
        if header.get("features") != self._feature_digest():
            raise StateError(f"state has features {header.get('features')!r}, expected {self._feature_digest()!r}")
        self._restore_arrays(arrays)

    def _check_chips(self, chips: object) -> NDArray[np.uint8]:
        self._check_params()
        images = checks.check_uint8(chips, "chips", 4)
        shape = check_chip_shape(images.shape[1:])
        if self.chip_shape_ not in (None, shape):
            raise ValueError(f"chips: a chip is {shape}, expected {self.chip_shape_} as before")
        return images

    def _check_params(self) -> None:
        self._check_range("seed", 0, 2**31 - 1)
        self._check_range("max_municipalities", 1, 1 << 20)

    def _check_range(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not isinstance(value, (int, float, np.number)) or not low <= value <= high:
            raise ValueError(f"{type(self).__name__}: {name} is {value!r}, expected a number from {low:g} to {high:g}")

    def _lacks(self) -> str:
        """What is missing before anything can be learnt; empty if nothing is."""
        if self.labels_ is None:
            return "no label set has been given: call set_labels"
        return "no chips have been given: call partial_fit" if self.chip_shape_ is None else ""

    def _finish(self) -> int:
        """Train to the end; returns the number of classes."""
        if lacking := self._lacks():
            raise NotReadyError(f"{self.name} cannot predict yet: {lacking}")
        self.train(self.pending_steps)
        return self.n_classes_

    @abstractmethod
    def _begin(self, shape: tuple[int, ...]) -> None:
        """Fix the chips' shape, and build what depends on it."""

    @abstractmethod
    def _absorb(
        self,
        chips: NDArray[np.uint8],
        bags: NDArray[np.int64],
        weights: NDArray[np.float64],
        numbers: NDArray[np.int64],
    ) -> None:
        """Take in checked chips; restart if that changes what training sees."""

    @abstractmethod
    def _restart(self) -> None:
        """Forget the trained weights: what they depend on has changed."""

    @abstractmethod
    def _train(self, steps: int) -> None:
        """Do `steps` of the pending steps."""

    def _map_shape(self) -> tuple[int, int]:
        """Rows and columns of a chip's cell map."""
        height, width, _ = self.chip_shape_ or (0, 0, 0)
        return height // 4, width // 4

    def _predict_chips(self, images: NDArray[np.uint8], n_classes: int) -> NDArray[np.float32]:
        """Class proportions (n, n_classes) of chips."""
        return _stack((self._predict_chip(chip) for chip in images), len(images), (n_classes,))

    @abstractmethod
    def _predict_chip(self, chip: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Class proportions (n_classes,) of one chip."""

    @abstractmethod
    def _predict_cells(self, chip: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Class proportions (rows, cols, n_classes) of one chip's cells."""

    @abstractmethod
    def _weight_arrays(self) -> list[NDArray[Any]]:
        """The trained weights, in a fixed order."""

    @abstractmethod
    def _feature_digest(self) -> str:
        """Names what chips are turned into before learning; statistics of different digests are never mixed."""

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What a state holds beside the header and the labels."""

    @abstractmethod
    def _restore_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take from `arrays`, with checks, what `_arrays` put there."""


def _digest(encoder: Encoder | None) -> str:
    return "no encoder" if encoder is None else f"encoder {encoder.digest[:16]}"


def _same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def _stack(rows: Iterable[NDArray[np.floating]], n: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Results of one chip at a time: a prediction does not depend on which chips it was asked for together with."""
    result = np.empty((n, *shape), np.float32)
    for i, row in enumerate(rows):
        result[i] = row
    return result
