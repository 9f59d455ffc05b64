"""Files both ways while passes begin and end, either end dies at any moment, and operators change their minds."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from link_world import Radio, World, content

from flight.link.errors import LinkError
from flight.link.events import FileDelivered, FileFailed
from flight.link.packet import FileKind
from flight.link.transfer import File

SIDES = st.sampled_from(["ground", "space"])
FAR = {"ground": "space", "space": "ground"}


class Transfers(RuleBasedStateMachine):
    """The model: what was submitted at each end, and what was cancelled there."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(seed=1)
        self.in_pass = False
        self.sent = {"ground": {}, "space": {}}
        self.cancelled = {"ground": set(), "space": set()}
        self.suspended = {"ground": set(), "space": set()}

    def owner(self, side):
        return getattr(self.world, side)

    @rule(side=SIDES, size=st.integers(0, 2000), priority=st.integers(0, 3))
    def submit(self, side, size, priority):
        owner = self.owner(side)
        file = File(f"f{len(self.sent[side])}", FileKind.PRODUCT, content(size, len(self.sent[side])))
        self.sent[side][owner.endpoint.submit(file, priority)] = file
        owner.disk = owner.endpoint.save()

    @rule(begins=st.booleans())
    def contact(self, begins):
        self.in_pass = begins
        self.world.contact(begins)

    @rule(seconds=st.floats(0.01, 8))
    def time_passes(self, seconds):
        self.world.run(seconds)

    @rule(up=st.floats(0, 0.6), down=st.floats(0, 0.6), duplicate=st.floats(0, 0.3), jitter_s=st.floats(0, 1.5))
    def weather(self, up, down, duplicate, jitter_s):
        self.world.up, self.world.down = Radio(up, duplicate, jitter_s), Radio(down, duplicate, jitter_s)

    @rule(side=SIDES)
    def die(self, side):
        self.owner(side).restart()
        if side == "ground" and self.in_pass:
            self.world.contact(True)

    @precondition(lambda self: any(self.sent.values()))
    @rule(side=SIDES, number=st.integers(1, 5), what=st.sampled_from(["cancel", "suspend", "resume"]))
    def command(self, side, number, what):
        owner = self.owner(side)
        try:
            if what == "cancel":
                owner.events += owner.endpoint.cancel(number)
                self.cancelled[side].add(number)
            elif what == "suspend":
                owner.endpoint.suspend(number)
                self.suspended[side].add(number)
            else:
                owner.endpoint.resume(number, self.world.t)
                self.suspended[side].discard(number)
        except LinkError:
            return
        owner.disk = owner.endpoint.save()

    @invariant()
    def what_arrived_is_what_was_sent(self):
        for side, files in self.sent.items():
            for number, file in self.owner(FAR[side]).files.items():
                assert files[number] == file

    def teardown(self):
        """In a long pass in fair weather all comes to its end, and both ends know."""
        self.weather(0.05, 0.05, 0.0, 0.0)
        for side, numbers in self.suspended.items():
            for number in sorted(numbers):
                self.command(side, number, "resume")
        self.world.contact(False)
        self.world.contact(True)
        self.world.run(4000, idle_ends=True)
        assert self.world.idle(), "an end does not know that all is over"
        for side, files in self.sent.items():
            owner, far = self.owner(side), self.owner(FAR[side])
            delivered = {event.transfer_id for event in owner.of(FileDelivered)}
            failed = {event.transfer_id for event in owner.of(FileFailed)}
            assert delivered | failed == set(files) and delivered <= set(far.files)
            assert failed <= self.cancelled[side]
            assert len(far.accepted) == len(set(far.accepted)), "a file was handed over twice"


TestTransfers = Transfers.TestCase
TestTransfers.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
