"""What a mission leaves behind: the record that the report, the summary and the tests read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PassRecord:
    """One pass over a station: AOS and LOS [mission s], station name, greatest elevation, and whether it was lost.

    `elevations_deg` are samples, evenly spaced from AOS to LOS; empty where nobody needs them.
    """

    aos_s: float
    los_s: float
    station: str
    max_elevation_deg: float
    lost: bool = False
    elevations_deg: tuple[float, ...] = ()

    def elevation_deg(self, t: float) -> float:
        """Elevation at mission time `t` within the pass, linear between the samples."""
        times = np.linspace(self.aos_s, self.los_s, len(self.elevations_deg))
        return float(np.interp(t, times, self.elevations_deg))


@dataclass(frozen=True)
class ImagingRecord:
    """One overpass in which the camera took chips: scene id, first and last chip [mission s], number of chips."""

    scene: int
    start_s: float
    end_s: float
    n_chips: int


@dataclass(frozen=True)
class Sample:
    """The mission at one instant; errors are soft MAE on the test split, None where there is no model yet."""

    t_s: float
    chips_ingested: int
    uplink_bytes: int
    downlink_bytes: int
    task_id: int
    label_version: int
    mae_soft_on_board: float | None  # the model on board, on test chips
    mae_soft_on_ground: float | None  # the predictions received so far, on the test chips among them


@dataclass(frozen=True)
class ModeSpan:
    """From `start_s` on flight was in this mode ("down" if it was dead), and limits asked for this action."""

    start_s: float
    mode: str
    limit_action: str


@dataclass(frozen=True)
class PowerSample:
    """What the board reported at one instant: charge as a share of full, sunlight, temperature, payload's power."""

    t_s: float
    battery: float
    sunlit: bool
    temperature_degc: float
    payload_w: float


@dataclass(frozen=True)
class Mark:
    """A moment worth a line in the timeline: label upload finished, change of task, fault, restart."""

    t_s: float
    kind: str
    text: str


@dataclass(frozen=True)
class SplitScore:
    """The model on board on the chips of one split; `worst_*` is the chip with the largest error, a mean over classes.

    Every test chip is scored, and of the other splits at most `sim.evaluate.MOST_OF_A_SPLIT`, evenly spread.
    """

    n_municipalities: int  # with chips
    n_rows_sent: int
    n_chips: int  # scored: those with a truth
    mae_soft: float
    r2_soft: float
    worst_mae: float
    worst_cell: tuple[int, int]  # row and column


@dataclass
class TaskResult:
    """How well one task went. Grids are (rows, cols, n_classes), NaN where there is no chip or nothing was received."""

    task_id: int
    name: str
    class_names: tuple[str, ...]
    truth: NDArray[np.float32]
    municipality: NDArray[np.float32]  # the municipality's uplinked row, spread over its chips; NaN where not sent
    prediction: NDArray[np.float32]  # as received on the ground
    test: NDArray[np.bool_]  # (rows, cols), chips of the test split
    scores: dict[str, float]  # of the model on board at the task's end
    baselines: dict[str, dict[str, float]]  # "training mean" and "own municipality": the same scores
    mae_soft_received: float | None = None  # of what the ground has received, on the test chips among it
    by_split: dict[str, SplitScore] = field(default_factory=dict)  # "training", "validation", "test": of the same model


@dataclass
class ExampleChips:
    """Some test chips for people to look at: images (n, h, w, bands) uint8, truth and prediction (n, n_classes)."""

    images: NDArray[np.uint8]
    truth: NDArray[np.float32]
    prediction: NDArray[np.float32]


@dataclass
class MissionRecord:
    """Everything that `summary.json` and `report.html` are made of."""

    summary: dict[str, Any]
    scenario: dict[str, Any]
    region_name: str
    licence: str
    geographic: bool
    epoch_utc: str
    duration_s: float
    passes: list[PassRecord] = field(default_factory=list)
    imaging: list[ImagingRecord] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    modes: list[ModeSpan] = field(default_factory=list)
    power: list[PowerSample] = field(default_factory=list)  # empty without a board
    radio: dict[str, Any] = field(default_factory=dict)  # what the channel counted, `sim.channel.Channel.report`
    bytes_by_kind: dict[str, dict[str, int]] = field(default_factory=dict)  # {"uplink": {"label set": 310, ...}, ...}
    event_counts: dict[str, int] = field(default_factory=dict)
    tasks: list[TaskResult] = field(default_factory=list)
    municipality_map: NDArray[np.int32] | None = None  # (rows, cols), first municipality of each cell, -1 where none
    examples: ExampleChips | None = None
