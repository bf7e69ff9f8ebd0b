"""A build in parts, for job arrays without a cluster: ``--part 3/16`` in sixteen jobs, then ``--finalise`` in one.

Every job joins the same plan, because a plan is put-if-absent; part i of n takes fragments i - 1, i - 1 + n, … The
jobs may run at any time, in any order and more than once; nobody waits for anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spikestore.store_schemas.errors import UsageError

_PART = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Part:
    """One share of the fragments of a build.

    Attributes
    ----------
    number : int
        Which share, from 1.
    of : int
        How many shares there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return the part that ``I/N`` means.

        Raises
        ------
        UsageError
            It is no part, or I is not between 1 and N.
        """
        match = _PART.fullmatch(text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"--part is I/N with I from 1 to N, such as 3/16, not {text!r}")
        return cls(int(match[1]), int(match[2]))

    def fragments(self, count: int) -> range:
        """Return this share of `count` fragments."""
        return range(self.number - 1, count, self.of)
