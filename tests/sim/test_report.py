"""The mission report: what a reader of report.html and summary.json relies on."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from fake_record import LAND_COVER, fake_record
from matplotlib.image import imread
from matplotlib.text import Text
from rich.console import Console

from flight.step import Message
from ground.styles import class_colours
from sim.channel import Channel
from sim.figures import mark_rows, task_spans
from sim.radio import RadioConfig
from sim.record import ExampleChips, Mark, MissionRecord, PassRecord, Sample, SplitScore, TaskResult
from sim.report import console_table, write_map_png, write_report, write_summary
from sim.report_maps import edge_segments, map_figure, received_error, task_maps
from sim.report_scores import by_split, scores, split_scores
from sim.report_style import blend, plain
from sim.report_summary import figure, mission_time, size, verdict

VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """What a browser would see: elements with attributes, ids, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def ids(self) -> set[str | None]:
        return {attrs["id"] for _, attrs in self.elements if "id" in attrs}

    @property
    def images(self) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.elements if tag == "img"]


def without_timing(text: str) -> str:
    return re.sub(r'<section id="timing">.*?</section>', "", text, flags=re.DOTALL)


def empty_record() -> MissionRecord:
    """A mission in which nothing happened at all."""
    return MissionRecord({}, {}, "nowhere", "none", True, "2026-01-01T00:00:00Z", 0.0)


def task_of(truth: np.ndarray, prediction: np.ndarray, names: tuple[str, ...], name: str = "t") -> TaskResult:
    test = np.zeros(truth.shape[:2], bool)
    test[: len(test) // 2 + 1] = True
    return TaskResult(0, name, names, truth, np.full_like(truth, np.nan), prediction, test, {}, {})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(fake_record(), tmp_path_factory.mktemp("geo")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def without_map(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(fake_record(geographic=False), tmp_path_factory.mktemp("made-up")).read_text(encoding="utf-8")


def test_the_report_needs_no_network_and_runs_no_script(written: str) -> None:
    page = Page(written)
    assert "http" not in written
    assert not any(tag in ("script", "link", "iframe", "object") for tag, _ in page.elements)
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in page.images)
    assert "url(" not in written and "@import" not in written


def test_the_report_says_which_kernels_computed(written: str) -> None:
    assert "<dt>Kernels</dt><dd>aot</dd>" in written
    assert "parameters, moments, computed by aot" in written


def test_every_element_is_closed_and_every_link_leads_somewhere(written: str) -> None:
    page = Page(written)
    assert page.open == []
    targets = {str(attrs["href"]).removeprefix("#") for tag, attrs in page.elements if tag == "a"}
    assert targets and targets <= page.ids


def test_every_picture_has_an_alternative_text_and_fits_1100_pixels(written: str) -> None:
    images = Page(written).images
    assert len(images) == 7  # maps and scatter plots of two tasks, example chips, error, link
    for image in images:
        assert len(str(image["alt"])) > 40
        assert int(str(image["width"])) <= 1100
        data = base64.b64decode(str(image["src"]).split(",")[1])
        assert data.startswith(b"\x89PNG") and b"Matplotlib" not in data and b"Creation" not in data


def test_a_region_on_the_ground_gets_maps_of_every_task(written: str) -> None:
    page = Page(written)
    assert page.ids >= {"task-0", "task-1", "examples", "timeline", "link", "operations", "scenario", "timing"}
    assert sum("Four maps" in str(image["alt"]) for image in page.images) == 2
    assert "no coordinates" not in written


def test_a_made_up_grid_gets_no_maps_and_says_why(without_map: str) -> None:
    page = Page(without_map)
    assert page.ids >= {"task-0", "task-1", "examples", "timeline", "link", "operations", "scenario", "timing"}
    assert not any("maps" in str(image["alt"]) for image in page.images)
    assert without_map.count("carries no coordinates") == 2
    assert any("true and predicted class proportions" in str(image["alt"]) for image in page.images)


def test_equal_missions_give_equal_files_whatever_the_machine_measured(written: str, tmp_path: Path) -> None:
    record = fake_record()
    record.summary |= {"retask_cpu_s": 9.9, "chips_per_s": 1.0, "flight_peak_rss_bytes": 1, "timings": {"mission": 1e6}}
    again = write_report(record, tmp_path).read_text(encoding="utf-8")
    assert again != written
    assert without_timing(again) == without_timing(written)


def test_text_from_data_is_shown_as_text(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>\"&\x00 $\\frac{ 林 $ " + "long " * 90
    record = fake_record()
    record.tasks = [
        task_of(np.full((4, 5, 2), 0.5, np.float32), np.full((4, 5, 2), 0.5, np.float32), (evil, "b"), evil)
    ]
    record.tasks[0].scores = {evil: 1.0}
    record.tasks[0].baselines = {evil: {"mae_soft": 0.1}}
    record.municipality_map = None
    record.summary |= {"scenario": evil, "learner": evil, "seed": evil, "weights_sha256": evil, "timings": {evil: evil}}
    record.scenario = {evil: {"link": [evil, {evil: evil}]}, "link": evil}
    record.region_name = record.licence = record.epoch_utc = evil
    record.marks = [Mark(1.0, evil, evil)]
    record.bytes_by_kind = {"uplink": {evil: 3}, evil: {evil: 4}}
    record.event_counts = {evil: 2}
    record.examples = ExampleChips(np.zeros((1, 8, 8, 1), np.uint8), np.ones((1, 2)) / 2, np.full((1, 2), np.nan))
    text = write_report(record, tmp_path).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "<script" not in text and "\x00" not in text
    assert any("<script>alert" in word for word in page.words)
    Console(file=io.StringIO()).print(console_table(record))


def test_a_mission_in_which_nothing_happened_has_a_report(tmp_path: Path) -> None:
    text = write_report(empty_record(), tmp_path).read_text(encoding="utf-8")
    assert "No model was trained on board" in text
    assert "No task was given to the satellite" in text
    Console(file=io.StringIO()).print(console_table(empty_record()))


def test_a_mission_that_never_had_a_model_shows_gaps_not_zeros(tmp_path: Path) -> None:
    record = fake_record()
    record.samples = [Sample(t, 0, 10, 0, 0, 0, None, None) for t in (0.0, 600.0)]
    for task in record.tasks:
        task.prediction[:] = np.nan
        task.scores = {}
    record.summary |= {"mae_soft": float("nan"), "mae_argmax": None}
    record.examples = None
    text = write_report(record, tmp_path).read_text(encoding="utf-8")
    assert "No model was trained on board" in text
    assert text.count("No prediction for a test chip was received") == 2
    assert "n/a" in text and "nan" not in "".join(Page(text).words).lower()


def test_the_verdict_names_both_reference_lines_and_does_not_flatter() -> None:
    record = fake_record()
    record.summary |= {"mae_soft": 0.12, "baseline_mean_mae": 0.10, "baseline_own_bag_mae": 0.08}
    assert "soft MAE of 0.120: 20 % above the 0.100 of predicting the training mean" in verdict(record)
    assert "50 % above the 0.080" in verdict(record) and "oracle" in verdict(record)


def test_a_region_of_a_thousand_chips_a_side_is_drawn_from_block_means() -> None:
    truth = np.zeros((1000, 30, 2), np.float32)
    truth[::2, :, 0] = 1
    truth[..., 1] = 1 - truth[..., 0]
    truth[:3, :3] = np.nan
    task = task_of(truth, np.full_like(truth, 0.5), ("a", "b"))
    maps = task_maps(task, np.zeros((1000, 30), np.int32))
    assert maps.factor == 3
    assert maps.error.shape == maps.test.shape == maps.borders.shape == maps.truth.shape[:2] == (334, 10)
    assert np.isnan(maps.truth[0, 0]).all() and np.isclose(maps.error[1, 1], 0.5)
    assert np.isclose(maps.truth[1, 0, 0], 1 / 3) and np.isclose(maps.truth[2, 0, 0], 2 / 3)


def test_twenty_classes_one_of_them_absent_are_all_in_the_tables(tmp_path: Path) -> None:
    names = tuple(f"a class with a rather long name, number {k}" for k in range(20))
    rng = np.random.Generator(np.random.Philox(0))
    truth = rng.dirichlet(np.ones(20), (30, 90)).astype(np.float32)
    truth[..., 7] = 0
    record = fake_record()
    record.tasks = [task_of(truth, truth[::-1].copy(), names)]
    record.municipality_map = None
    text = write_report(record, tmp_path).read_text(encoding="utf-8")
    assert all(name in text for name in names)
    row = re.search(r"number 7</span>.*?</tr>", text, re.DOTALL)
    assert row is not None and "n/a" in row.group()
    assert len(set(class_colours(names))) == 20


def test_the_ground_scores_only_test_chips_that_it_received() -> None:
    truth = np.zeros((4, 1, 2), np.float32)
    truth[..., 0] = 1
    prediction = np.full_like(truth, 0.5)
    prediction[0] = np.nan
    prediction[1] = (0.8, 0.2)
    task = task_of(truth, prediction, ("a", "b"))
    task.test[:] = [[True], [True], [True], [False]]
    assert received_error(task) == pytest.approx((0.2 + 0.5) / 2)


def test_a_pure_chip_has_the_colour_of_its_class_and_a_mix_lies_between() -> None:
    colours = class_colours(LAND_COVER)
    pure = blend(np.eye(5, dtype=np.float32)[None], colours)
    assert [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.round(pure[0] * 255).astype(int)] == colours
    black_and_white = blend(np.array([[[0.5, 0.5]]], np.float32), ["#000000", "#ffffff"])
    assert np.allclose(black_and_white, 0.7354, atol=1e-3)  # half the light, IEC 61966-2-1
    assert np.isnan(blend(np.full((1, 1, 5), np.nan, np.float32), colours)).all()


def test_borders_run_between_different_cells_and_nowhere_else() -> None:
    values = np.array([[1, 1, 2], [1, 1, 2], [3, 3, 3]])
    segments = {tuple(map(tuple, run)) for run in edge_segments(values).tolist()}
    assert segments == {((-0.5, 1.5), (2.5, 1.5)), ((1.5, -0.5), (1.5, 1.5))}


def test_no_line_of_a_mark_runs_through_the_label_of_another() -> None:
    marks = [Mark(t, "fault", "") for t in (0.0, 10.0, 11.0, 11.0, 300.0, 301.0, *range(400, 440))]
    rows = mark_rows(marks, 1.0)
    assert rows[4][0] > rows[5][0] or rows[4][0] == -1
    for a, (row, label) in zip(marks, rows, strict=True):
        for b, (other, _) in zip(marks, rows, strict=True):
            if row >= 0 and other >= 0 and a.t_s < b.t_s < a.t_s + 6.7 * len(label):
                assert other < row


def test_reference_lines_belong_to_the_task_that_was_current() -> None:
    record = fake_record()
    spans = [(task.name, start, end) for task, start, end in task_spans(record)]
    assert spans == [("land cover", 0.0, 108000.0), ("forest type", 108000.0, 172800.0)]


def test_scores_of_one_class_are_told_from_scores_of_the_task() -> None:
    whole, single = split_scores({"mae_soft": 0.1, "f1_water": 0.7, "iou/bare soil": 0.5, "f1_micro": 0.6}, LAND_COVER)
    assert whole == {"mae_soft": 0.1, "f1_micro": 0.6}
    assert single == {"f1": {"water": 0.7}, "iou": {"bare soil": 0.5}}


def test_the_summary_survives_the_way_to_json_and_back(tmp_path: Path) -> None:
    summary = fake_record().summary
    path = write_summary(summary, tmp_path)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert list(read) == sorted(summary)
    assert read == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in summary.items()}
    assert write_summary(read, tmp_path / "again").read_bytes() == path.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["summary.json"]


def test_what_json_cannot_hold_is_null_or_an_error_with_its_path(tmp_path: Path) -> None:
    values = {"a": float("nan"), "b": np.float32(0.1), "c": np.array([1.0, np.inf]), "d": np.int64(3), "e": True}
    read = json.loads(write_summary(values, tmp_path).read_text(encoding="utf-8"))
    assert read == {"a": None, "b": 0.100000001, "c": [1.0, None], "d": 3, "e": True}
    with pytest.raises(TypeError, match=r"summary\.timings\[1\]\.x: JSON cannot hold a set"):
        write_summary({"timings": [0, {"x": {1}}]}, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == read


def test_the_picture_for_a_readme_is_one_png(tmp_path: Path) -> None:
    record = fake_record()
    path = write_map_png(record, record.tasks[0], tmp_path / "map.png")
    image = imread(path)
    assert image.shape[1] == 2040 and image.shape[0] > 600
    assert len(np.unique(image[::4, ::4, 0])) > 100


def test_the_terminal_shows_scores_against_baselines() -> None:
    out = io.StringIO()
    record = fake_record()
    record.tasks[0].name = "[bold]land[/bold]"
    Console(file=out, width=110).print(console_table(record))
    assert "training mean" in out.getvalue() and "[bold]land[/bold]" in out.getvalue()


def test_figures_are_written_as_people_read_them() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345, 999_960, 2_500_000)] == [
        *("0 B", "999 B", "1.00 kB", "12.3 kB", "1.00 MB", "2.50 MB"),
    ]
    assert mission_time(93784.0) == "T+1d 02:03:04"
    assert [figure(v) for v in (0.12345, -0.0001, float("nan"), None)] == ["0.123", "0.000", "n/a", "n/a"]
    assert plain("a$b\n\x07c") == r"a\$b ?c" and len(plain("x" * 100, 12)) == 12


def test_scores_have_names_and_what_the_ground_received_stands_beside_the_model_on_board(tmp_path: Path) -> None:
    record = fake_record()
    task = record.tasks[0]
    task.scores |= {"chip_accuracy": 0.8125, "ece": 0.0625}
    task.mae_soft_received = 0.1234
    text = write_report(record, tmp_path).read_text(encoding="utf-8")
    assert "chip accuracy (higher is better)" in text and "calibration error, ECE (lower is better)" in text
    assert "received on the ground" in text and "0.123" in text
    assert not any(word in text for word in (">chip_accuracy<", ">ece<"))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(console_table(record))
    assert "as received on the ground" in console.export_text()


def test_the_link_section_counts_frames_by_what_became_of_them_and_passes_from_one(tmp_path: Path) -> None:
    record = fake_record()
    contacts = [PassRecord(p.aos_s, p.los_s, p.station, p.max_elevation_deg) for p in record.passes]
    channel = Channel(RadioConfig(lost_passes=(1,), bit_error_rate=1e-4, independent_loss=0.3), contacts, 3)
    for contact in contacts[:2]:
        for n in range(40):
            t = contact.aos_s + n
            channel.step(t, [Message(t, "station", n, "ground", bytes(256))])
    record.radio = channel.report()
    record.passes = channel.contacts
    record.summary["capture"] = {"file": "radio.pcapng", "frames": 80, "bytes": 27000, "left_out": 3, "error": ""}
    page = Page(write_report(record, tmp_path).read_text(encoding="utf-8"))
    words = " ".join(page.words)
    damaged = channel.report()["up"]["damaged"]["frames"]
    assert damaged and re.search(rf"delivered with flipped bits\s+{damaged}\s+0", words)
    assert re.search(r"lost: the whole pass lost\s+40\s+0", words) and "lost: singly" in words
    assert re.search(r"\b1\s+Svalbard.*?lost\s+0 of 40\s+none\s+2\s+", words, re.DOTALL)
    assert "radio.pcapng" in words and "3 frames were left out" in words


def test_splits_stand_side_by_side_with_their_worst_chips_and_few_test_chips_are_told() -> None:
    task = fake_record().tasks[0]
    task.by_split = {
        "training": SplitScore(60, 58, 1000, 0.025, 0.9, 0.381, (4, 12)),
        "test": SplitScore(6, 0, 26, 0.016, 0.99, 0.04, (3, 11)),
    }
    words = " ".join(Page(by_split(task)).words)
    assert re.search(r"training\s+60\s+58\s+1,000\s+0\.025\s+0\.900\s+0\.381 \(4, 12\)", words)
    assert "26 test chips in 6 municipalities are few" in words
    task.by_split["test"] = SplitScore(30, 0, 900, 0.016, 0.99, 0.04, (3, 11))
    assert "are few" not in by_split(task)


def test_what_is_scored_on_fewer_chips_says_so_and_is_never_the_best_of_a_row() -> None:
    task = fake_record().tasks[0]  # of whose test chips some were not received
    task.mae_soft_received = 0.0001
    found = scores(task)
    assert re.search(r"received on the ground \([\d,]+ of [\d,]+ chips\)", found)
    assert '<span class="best">0.000</span>' not in found and 'class="best"' in found
    task.prediction = task.truth
    assert '<span class="best">0.000</span>' in scores(task)


def _texts(task: TaskResult, land: np.ndarray | None = None) -> list[str]:
    return [text.get_text() for text in map_figure(task, land).figure.findobj(Text)]


def test_a_colour_scale_that_ends_below_the_largest_error_says_so() -> None:
    truth = np.zeros((20, 20, 2), np.float32)
    truth[..., 0] = 1
    guess = truth.copy()
    assert not any("≥" in text for text in _texts(task_of(truth, guess, ("a", "b"))))
    guess[4, 12] = (0.5, 0.5)
    assert "≥ 0.05" in _texts(task_of(truth, guess, ("a", "b")))


def test_white_cells_have_a_word_in_the_legend() -> None:
    truth = np.full((6, 6, 2), 0.5, np.float32)
    assert "no chip" not in _texts(task_of(truth, truth, ("a", "b")))
    holes = truth.copy()
    holes[0] = np.nan
    assert "no chip" in _texts(task_of(holes, truth, ("a", "b")))
    assert "no chip, or no truth" in _texts(task_of(holes, truth, ("a", "b")), np.zeros((6, 6), np.int32))
