"""A made-up mission of two days over 75 x 80 chips and 90 municipalities, as the simulator would have recorded it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from sim.record import ExampleChips, ImagingRecord, Mark, MissionRecord, PassRecord, Sample, TaskResult

ROWS, COLS, MUNICIPALITIES, TEST_FROM = 75, 80, 90, 72
LAND_COVER = ("water", "forest", "cropland", "built-up", "bare soil")
FOREST = ("broadleaf forest", "needleleaf forest", "not forest")
DURATION_S = 2 * 86400.0
RETASK_S = 30 * 3600.0


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def smooth(rng: np.random.Generator, shape: tuple[int, int], width: float) -> NDArray[np.float64]:
    """A Gaussian random field of unit variance."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij"))
    spectrum = np.fft.fft2(rng.standard_normal(shape)) * np.exp(-2 * (np.pi * frequency * width) ** 2)
    field = np.fft.ifft2(spectrum).real
    return field / field.std()


def municipalities(rng: np.random.Generator, shape: tuple[int, int], n: int) -> NDArray[np.int32]:
    """Cells of the nearest of `n` seats, with wavy borders and a coast."""
    seats = rng.uniform(0, 1, (n, 2)) * shape
    row, col = np.indices(shape)
    row = row + 2.2 * smooth(rng, shape, 4)
    col = col + 2.2 * smooth(rng, shape, 4)
    nearest = ((row[..., None] - seats[:, 0]) ** 2 + (col[..., None] - seats[:, 1]) ** 2).argmin(axis=-1)
    coast = np.indices(shape)[1] + 5 * smooth(rng, shape, 9) < shape[1] * 0.08
    return np.where(coast, -1, nearest).astype(np.int32)


def task_result(task_id: int, name: str, classes: tuple[str, ...], land: NDArray[np.int32], seed: int) -> TaskResult:
    rng = generator(seed)
    shape = land.shape
    fields = np.stack([smooth(rng, shape, 2.2 + k) for k in range(len(classes))], axis=-1)
    truth = np.exp(2.4 * fields)
    truth /= truth.sum(axis=-1, keepdims=True)
    guess = np.exp(1.5 * fields + 1.1 * rng.standard_normal(fields.shape))
    guess /= guess.sum(axis=-1, keepdims=True)
    municipality = np.full_like(truth, np.nan)
    own = np.zeros_like(truth)
    for m in range(land.max() + 1):
        own[land == m] = truth[land == m].mean(axis=0)
    test = land >= min(TEST_FROM, land.max())
    sent = (land >= 0) & ~test & (land % 9 != 5)
    municipality[sent] = own[sent]
    truth[land < 0] = guess[land < 0] = np.nan
    guess[18:22, 40:] = np.nan
    mean = np.nanmean(truth[~test & (land >= 0)], axis=0)
    known = test & np.isfinite(guess[..., 0])

    def scores(values: NDArray[np.float64]) -> dict[str, float]:
        error = np.broadcast_to(values, truth.shape)[known] - truth[known]
        spread = ((truth[known] - truth[known].mean(axis=0)) ** 2).sum()
        mae = float(np.abs(error).mean())
        r2 = float(1 - (error**2).sum() / spread)
        return {"mae_soft": mae, "mae_argmax": 1.2 * mae, "f1_micro": 1 - 3 * mae, "iou": 1 - 4.5 * mae, "r2_soft": r2}

    board = scores(guess) | {f"f1_{c}": 0.9 - 0.07 * k for k, c in enumerate(classes)}
    return TaskResult(
        task_id=task_id,
        name=name,
        class_names=classes,
        truth=truth.astype(np.float32),
        municipality=municipality.astype(np.float32),
        prediction=guess.astype(np.float32),
        test=test,
        scores=board,
        baselines={"training mean": scores(mean), "own municipality": scores(own)},
    )


def chips(truth: NDArray[np.float32], seed: int) -> NDArray[np.uint8]:
    """Images (n, 96, 96, 3) that look a little like land in these proportions of the five land-cover classes."""
    colours = np.array([[24, 52, 84], [38, 72, 40], [168, 152, 84], [150, 138, 134], [186, 150, 112]], float)
    rng = generator(seed)
    images = []
    for row in truth:
        field = smooth(rng, (96, 96), 6)
        level = np.quantile(field, np.clip(np.cumsum(row)[:-1], 0, 1))
        image = colours[np.searchsorted(level, field)] + 9 * rng.standard_normal((96, 96, 1))
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return np.stack(images)


def passes() -> list[PassRecord]:
    stations = ("Svalbard", "Kiruna", "Inuvik")
    result = []
    for i in range(14):
        start = 2100.0 + i * 11900.0 + 370 * (i % 3)
        high = 12 + (i * 37) % 71
        result.append(PassRecord(start, start + 380 + 3 * high, stations[i % 3], float(high), lost=i in (4, 9)))
    return result


def samples(tasks: list[TaskResult], contacts: list[PassRecord]) -> list[Sample]:
    rng = generator(5)
    result, ground = [], None
    for i in range(289):
        t = i * 600.0
        task = tasks[t >= RETASK_S]
        done = [p for p in contacts if p.los_s <= t and not p.lost]
        since = t - (4200.0 if task is tasks[0] else RETASK_S)
        final = task.scores["mae_soft"]
        board = None if since < 0 else final + 0.09 * np.exp(-since / 16000) + 0.0015 * rng.standard_normal()
        if t == RETASK_S:
            ground = None
        if board is not None and any(t - 600 < p.los_s <= t for p in done):
            ground = float(board) + 0.003
        up, down = 5200 + 640 * len(done), 9300 * len(done)
        result.append(
            Sample(
                t,
                18 * i,
                up if done else 0,
                down,
                task.task_id,
                len(done),
                None if board is None else float(board),
                ground,
            )
        )
    return result


def fake_record(geographic: bool = True) -> MissionRecord:
    """The mission; with `geographic` False its grid counts as made up."""
    land = municipalities(generator(1), (ROWS, COLS), MUNICIPALITIES)
    tasks = [task_result(0, "land cover", LAND_COVER, land, 11), task_result(1, "forest type", FOREST, land, 12)]
    contacts = passes()
    where = np.argwhere(tasks[0].test & np.isfinite(tasks[0].prediction[..., 0]))[::95][:12]
    truth, prediction = (grid[where[:, 0], where[:, 1]] for grid in (tasks[0].truth, tasks[0].prediction))
    last = tasks[0]
    summary = {
        "scenario": "two-days-over-the-coast",
        "seed": 7,
        "learner": "moments",
        "kernels": "aot",
        "n_chips": int((land >= 0).sum()),
        "n_municipalities": MUNICIPALITIES,
        "n_labelled": 64,
        "n_parameters": 4870,
        "uplink_bytes": 12880,
        "label_payload_bytes": 211,
        "label_packet_bytes": 422,
        "downlink_bytes": 111600,
        "frames_sent": 1904,
        "frames_lost": 118,
        "passes": len(contacts),
        **{key: last.scores[key] for key in ("mae_argmax", "mae_soft", "f1_micro", "iou", "r2_soft")},
        "baseline_mean_mae": last.baselines["training mean"]["mae_soft"],
        "baseline_own_bag_mae": last.baselines["own municipality"]["mae_soft"],
        "retask_cpu_s": 0.0132,
        "flight_peak_rss_bytes": 71_303_168,
        "chips_per_s": 812.4,
        "weights_sha256": hashlib.sha256(b"weights").hexdigest(),
        "timings": {"mission_wall_s": 48.2, "flight_cpu_s": 21.7},
    }
    return MissionRecord(
        summary=summary,
        scenario={
            "mission": {"name": "two-days-over-the-coast", "duration_s": DURATION_S, "seed": 7, "epoch": "2026-03-21"},
            "orbit": {"altitude_km": 520.0, "inclination_deg": 97.5, "stations": ["Svalbard", "Kiruna", "Inuvik"]},
            "link_preset": "uhf-9k6 up, uhf-9k6 down, nominal loss",
            "radio": {"uplink": "uhf-9k6", "downlink": "uhf-9k6", "loss": "nominal"},
            "faults": [{"kind": "kill", "t_s": 50400.0}, {"kind": "lost pass", "number": 5}],
            "learner": {"name": "moments", "seed": 0},
        },
        region_name="Synthetic coast 75 x 80",
        licence="generated, no rights reserved",
        geographic=geographic,
        epoch_utc="2026-03-21T00:00:00Z",
        duration_s=DURATION_S,
        passes=contacts,
        imaging=[ImagingRecord(i, 5400.0 * i + 900, 5400.0 * i + 1180, 172) for i in range(0, 32, 2)],
        samples=samples(tasks, contacts),
        marks=[
            Mark(2700.0, "labels", "label set 1 of land cover complete on board, 34 municipalities"),
            Mark(26400.0, "labels", "label set 2 of land cover complete on board, 64 municipalities"),
            Mark(50400.0, "fault", "flight process killed"),
            Mark(50420.0, "restart", "flight process back, incarnation 2"),
            Mark(50100.0, "fault", "pass 5 lost"),
            Mark(RETASK_S, "task", "task changed to forest type, label set 1, 64 municipalities"),
            Mark(112000.0, "labels", "label set 2 of forest type complete on board"),
        ],
        bytes_by_kind={
            "uplink": {
                "region": 4310,
                "label set": 422,
                "telecommand": 1204,
                "acknowledgement": 5640,
                "overhead": 1304,
            },
            "downlink": {"product": 88100, "housekeeping": 12900, "event": 3200, "acknowledgement": 7400},
        },
        event_counts={
            "LABELS_ACCEPTED": 4,
            "TASK_CHANGED": 1,
            "CHECKPOINT_WRITTEN": 212,
            "RESTARTED": 1,
            "FRAME_REFUSED": 3,
        },
        tasks=tasks,
        municipality_map=land,
        examples=ExampleChips(chips(truth, 3), truth, prediction),
    )
