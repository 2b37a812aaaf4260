"""The order in which the images of shards come: by seed alone, and known from a few numbers."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypedDict

import numpy as np

from .shards import Shards, StoredImage


class Place(TypedDict):
    """Where one part of the shards is, in numbers that a checkpoint keeps.

    Keys:
        passes: Passes over the shards before this one.
        opened: Shards that this part has opened in this pass.
        open: Shard and images read of those that are not at their end.
        given: Images before this block, of all passes.
        skip: Images of this block that have been given.
    """

    passes: int
    opened: int
    open: list[list[int]]
    given: int
    skip: int


def start_of_pass(passes: int = 0, given: int = 0) -> Place:
    """The place before the first image of a pass."""
    return Place(passes=passes, opened=0, open=[], given=given, skip=0)


def part_of_pass(count: int, passes: int, part: int, parts: int, seed: int) -> list[int]:
    """Shards of one part in one pass. All parts together have each of ``count`` shards once."""
    order = np.random.default_rng((seed, passes)).permutation(count)
    return order[part::parts].tolist()


class Turns:
    """Images of some shards, one from each open shard in turn.

    Args:
        shards (Shards): All shards.
        chosen (Sequence[int]): Which of them to read, in this order.
        width (int): How many are open at a time.
        opened, open: As in :class:`Place`, to go on from there.
    """

    def __init__(
        self,
        shards: Shards,
        chosen: Sequence[int],
        width: int,
        opened: int = 0,
        open: Sequence[Sequence[int]] = (),
    ) -> None:
        self.shards, self.chosen, self.width, self.opened = shards, chosen, width, opened
        self.readers = deque([shard, read, shards.read(shard, read)] for shard, read in open)

    def __iter__(self) -> Iterator[StoredImage]:
        return self

    def __next__(self) -> StoredImage:
        while True:
            while len(self.readers) < self.width and self.opened < len(self.chosen):
                shard = self.chosen[self.opened]
                self.readers.append([shard, 0, self.shards.read(shard)])
                self.opened += 1
            if not self.readers:
                raise StopIteration
            reader = self.readers.popleft()
            image = next(reader[2], None)
            if image is not None:
                reader[1] += 1
                self.readers.append(reader)
                return image

    def place(self) -> dict:
        """``opened`` and ``open`` of :class:`Place`."""
        return dict(opened=self.opened, open=[[shard, read] for shard, read, _ in self.readers])


def blocks(
    shards: Shards, part: int, parts: int, seed: int, place: Place, size: int, width: int
) -> Iterator[tuple[list[StoredImage], Place]]:
    """Shuffled blocks of one part of the shards without an end, pass after pass.

    A block is read whole, so that a resumed run reads it again and has the same images in the same
    order; a buffer that is filled up one by one could not be had again without all images before.

    Args:
        shards (Shards): All shards.
        part (int): Which part of them.
        parts (int): How many parts there are; no more than shards.
        seed (int): Of the order of shards and of images within a block.
        place (Place): Where to begin; its ``skip`` is the caller's.
        size (int): Images of a block; the last one of a pass may have fewer.
        width (int): Shards that are open at a time.

    Yields:
        tuple: A block and the place before its first image.
    """
    passes, given = place['passes'], place['given']
    where = dict(opened=place['opened'], open=place['open'])
    while True:
        chosen = part_of_pass(len(shards), passes, part, parts, seed)
        turns = Turns(shards, chosen, width, **where)
        while True:
            before = Place(passes=passes, given=given, skip=0, **turns.place())
            block = list(islice(turns, size))
            if not block:
                break
            order = np.random.default_rng((seed, part, given)).permutation(len(block))
            yield [block[index] for index in order], before
            given += len(block)
        passes, where = passes + 1, {}
