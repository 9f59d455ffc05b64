"""The encoder that comes with swath."""

from flight.encoder import EncoderFile
from ground.encoders import released


def test_the_released_encoder_is_small_and_one_and_the_same_in_both_formats():
    files = [EncoderFile.parse(data) for data in released.files()]
    assert len(files) == 2
    assert sum(len(file.data) for file in files) <= 150_000
    assert len({file.header.frozen for file in files}) == 1
    for file in files:
        assert (file.header.precision, file.header.chip) == ("int8", (96, 96, 3))
