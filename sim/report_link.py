"""The radio in the mission report: what was sent, what became of it, and pass by pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim import figures
from sim.record import MissionRecord
from sim.report_html import Markup, element, picture, table
from sim.report_summary import count, is_number, mission_time, size

FATES = {
    "offered": "sent",
    "delivered": "delivered",
    "damaged": "delivered with flipped bits",
    "duplicated": "delivered twice",
    "held_back": "held back on the way",
}
CAUSES = {
    "no_contact": "no contact",
    "queue_full": "transmitter's queue full",
    "cut_by_los": "cut off by LOS",
    "pass_lost": "the whole pass lost",
    "outage": "outage",
    "burst": "in a burst",
    "elevation": "at low elevation",
    "independent": "singly",
}
KINDS_NOTE = (
    "Bytes by kind are those of packets, with their headers and every repeat. “framing” is what the frames around them "
    "take: headers, authentication, checksums. “idle” are packets without content, in frames that only keep the "
    "link in step while there is nothing else to send. Label files are so small that these two are usually most of the "
    "uplink, which is as it should be: that airtime had no other use. In summary.json, label_payload_bytes are "
    "the packed tables, each counted once, and label_packet_bytes is the line “label set”."
)
SHOW = "swath-ground capture show"


def parts(record: MissionRecord) -> list[Markup]:
    """The link section: totals, a figure, what went wrong on the radio, and bytes by kind."""
    s = record.summary
    sent, lost = s.get("frames_sent"), s.get("frames_lost")
    totals = f"{size(s.get('uplink_bytes'))} up and {size(s.get('downlink_bytes'))} down"
    share = f" ({100 * lost / sent:.2f} %)" if is_number(sent) and is_number(lost) and sent else ""
    frames = f"{count(sent)} frames were sent, {count(lost)} of them lost{share}; {totals} in all."
    alt = f"Cumulative bytes against mission time each way, and bytes by kind: {totals}. The tables have the figures."
    canvas = figures.link_figure(record)
    caption = "Passes are shaded; lost passes are hatched."
    drawn = picture(canvas.png(), canvas.width_px, canvas.height_px, alt, caption)
    kinds = [
        _kinds(f"{way.capitalize()} by kind", kinds)
        for way, kinds in sorted(record.bytes_by_kind.items(), reverse=True)
    ]
    note = element("p", KINDS_NOTE, class_="note")
    return [
        element("p", frames),
        drawn,
        _causes(record),
        element("div", *kinds, class_="pair"),
        note,
        *_capture(record),
    ]


def _causes(record: MissionRecord) -> Markup:
    """Frames by what became of them, each way."""
    ways = [record.radio.get(way, {}) for way in ("up", "down")]
    rows = [[name, *(count(way[key]["frames"]) for way in ways)] for key, name in FATES.items() if all(ways)]
    causes = [key for key in CAUSES if any(key in way.get("lost", {}) for way in ways)]
    for key in causes:
        rows.append(
            [f"lost: {CAUSES[key]}", *(count(way.get("lost", {}).get(key, {}).get("frames", 0)) for way in ways)]
        )
    return table("Frames by what became of them", ["frames", "up", "down"], rows)


def _capture(record: MissionRecord) -> list[Markup]:
    """A word on the file with every frame, if there is one."""
    capture = record.summary.get("capture")
    if not capture:
        return []
    left = f"; {count(capture['left_out'])} frames were left out" if capture["left_out"] else ""
    why = f" ({capture['error']})" if capture["error"] else ""
    text = f": {count(capture['frames'])} frames in {size(capture['bytes'])}{left}{why}. Read it with "
    return [element("p", "Every frame is in ", element("code", capture["file"]), text, element("code", SHOW), ".")]


def _kinds(caption: str, kinds: Mapping[str, int]) -> Markup:
    total = sum(kinds.values())
    largest = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    rows = [[name, count(n), f"{100 * n / total:.1f} %" if total else "n/a"] for name, n in largest]
    return element("div", table(caption, ["kind", "bytes", "share"], rows))


def passes(record: MissionRecord) -> Markup:
    """Every pass, numbered as scenarios number them, with the frames that came through."""
    counts = {each["pass"]: each for each in record.radio.get("passes", [])}
    rows = [
        [
            number,
            one.station,
            mission_time(one.aos_s),
            mission_time(one.los_s),
            f"{one.los_s - one.aos_s:.0f}",
            f"{one.max_elevation_deg:.1f}",
            "lost" if one.lost else "in contact",
            *(_through(counts.get(number, {}).get(way)) for way in ("up", "down")),
        ]
        for number, one in enumerate(record.passes, 1)
    ]
    header = ["no.", "station", "AOS", "LOS", "length [s]", "highest [°]", "outcome", "frames up", "frames down"]
    return table("Passes", header, rows)


def _through(tally: Mapping[str, Any] | None) -> str:
    """Frames delivered of frames offered."""
    return f"{count(tally['delivered']['frames'])} of {count(tally['offered']['frames'])}" if tally else "none"
