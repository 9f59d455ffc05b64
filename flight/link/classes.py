"""How the classes of one table became those of another: the same, merged, or split.

Classes of both tables fall into *groups* that keep their total: a merge has several old classes in one group, a split
several new ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .pack import CodecError


@dataclass(frozen=True)
class Relation:
    """The group of each class.

    Attributes:
        of_base: group of each class of the earlier table.
        of_class: group of each class of the later one; every group has one or more.
    """

    of_base: tuple[int, ...]
    of_class: tuple[int, ...]

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return max(self.of_class) + 1

    def check(self, n_base: int, n_classes: int) -> None:
        """CodecError unless this relates tables of so many classes."""
        if (len(self.of_base), len(self.of_class)) != (n_base, n_classes):
            raise CodecError(
                f"label set: a relation of {len(self.of_base)} classes to {len(self.of_class)}, "
                f"expected {n_base} to {n_classes}"
            )
        groups = set(range(self.n_groups))
        if set(self.of_class) != groups or not set(self.of_base) <= groups:
            raise CodecError("label set: every class of the base must have become one or more classes")


def relate(base: tuple[str, ...], classes: tuple[str, ...], became: Iterable[tuple[str, str]] = ()) -> Relation:
    """The relation of classes by name: `became` holds (old, new) pairs, other classes keep their name.

    CodecError names a class that is not there, or an old class that has become none. A new class that nothing became
    had no share before.
    """
    pairs = list(became)
    for old, new in pairs:
        if old not in base or new not in classes:
            known = f"the base has {', '.join(base)}; the table has {', '.join(classes)}"
            raise CodecError(f"label set: class {old!r} cannot have become {new!r}: {known}")
    named = {old for old, _ in pairs}
    pairs += [(name, name) for name in base if name not in named and name in classes]
    lost = [name for name in base if name not in {old for old, _ in pairs}]
    if lost:
        raise CodecError(f"label set: say what became of class {', '.join(lost)}: it is not in the table")
    group = list(range(len(classes)))  # of each new class, merged where an old class has become several
    of_old: dict[str, int] = {}
    for old, new in pairs:
        one, other = of_old.get(old, group[classes.index(new)]), group[classes.index(new)]
        group = [one if g == other else g for g in group]
        of_old = {name: one if g == other else g for name, g in of_old.items()}
        of_old[old] = one
    number = {g: i for i, g in enumerate(dict.fromkeys(group))}
    return Relation(tuple(number[of_old[name]] for name in base), tuple(number[g] for g in group))
