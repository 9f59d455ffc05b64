"""Flight at full load: nothing is late, and the stopwatch would see it."""

from benchmarks import punctual


def test_at_full_load_frames_chips_and_training_are_on_time():
    found = punctual.measure(22.0)
    assert found["frames"].count > 500 and found["chips"].count > 600 and found["trainings"].count >= 1
    assert [each.late for each in found.values()] == [0, 0, 0]


def test_what_takes_longer_than_its_deadline_counts_as_late():
    watch = punctual.Punctual(1.0)
    for took_s in (0.5, 1.0, 1.5, 0.1):
        watch.add(took_s)
    assert (watch.count, watch.late, watch.most_s, watch.percent) == (4, 1, 1.5, 75.0)
