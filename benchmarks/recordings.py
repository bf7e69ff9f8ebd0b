"""Recordings that benchmarks read: recordings of ``--data``, in the layout of SSC or SHD, or demo recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COCHLEA = ("SSC", "SHD")
"""Data sets that benchmarks read."""


@dataclass(frozen=True)
class Recordings:
    """The split of a data set that a benchmark reads.

    Attributes
    ----------
    dataset : {"SSC", "SHD"}
        Name of the data set.
    split : str
        ``train`` if its file exists; if not, the first split whose file exists.
    folder : Path
        The folder that contains the file of the split.
    count : int
        Number of recordings in the file, at least 1.
    splits : tuple of str
        All splits whose files exist.
    """

    dataset: str
    split: str
    folder: Path
    count: int
    splits: tuple[str, ...]

    @property
    def recipe(self) -> Path:
        """Path of the shipped recipe that applies the blog post's transform (docs/seed.md) to this data set."""
        return ROOT / "recipes" / f"{self.dataset.lower()}.toml"

    def recipe_text(self, limit: int) -> str:
        """Return the shipped recipe, limited to the first `limit` recordings of this split."""
        lines = self.recipe.read_text(encoding="utf-8").splitlines()
        wanted = f'splits = ["{self.split}"]\nlimit = {min(limit, self.count)}'
        text = "\n".join(wanted if line.startswith("splits = ") else line for line in lines)
        return f"{text}\n"

    @property
    def name(self) -> str:
        """The name that the shipped recipe gives to feature sets."""
        from spikestore.pipeline import load_recipe

        return str(load_recipe(self.recipe).name)

    def tonic_dataset(self, scratch: Path, transform: Any) -> Any:
        """Return Tonic's data set of this split.

        Tonic starts a download unless a folder with the name of the data set has both the recordings and their archive. So
        this method creates such a folder, with a link to the recordings and an empty archive.
        """
        import tonic

        file = f"{self.dataset.lower()}_{self.split}.h5"
        folder = scratch / "tonic" / self.dataset
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / file).exists():
            (folder / file).symlink_to(self.folder / file)
            (folder / f"{file}.zip").touch()
        chosen = {"train": self.split == "train"} if self.dataset == "SHD" else {"split": self.split}
        return getattr(tonic.datasets, self.dataset)(str(folder.parent), transform=transform, **chosen)


def find_recordings(data: Path) -> Recordings:
    """Return the recordings of ``--data``.

    Parameters
    ----------
    data : Path
        The folder with the files, or its parent folder.

    Raises
    ------
    SystemExit
        The folder has no recordings that benchmarks can read; the message has the reason, in one line.
    """
    from spikestore.pipeline.readers.registry import dataset_files, find_dataset, splits_of
    from spikestore.store_schemas.errors import SourceNotFoundError, SpikestoreError

    try:
        dataset = find_dataset(data)
        if dataset not in COCHLEA:
            raise SystemExit(f"--data {data}: benchmarks read {' and '.join(COCHLEA)}, and this is {dataset}")
        found: dict[str, Path] = {}
        for split in splits_of(dataset):
            try:
                root, (file,) = dataset_files(dataset, split, data)
            except SourceNotFoundError:
                continue
            found[split] = root / file
        split, path = next(iter(found.items()))
        count = _count(path)
    except (SpikestoreError, OSError) as error:
        raise SystemExit(f"--data {data}: {error}") from error
    if count == 0:
        raise SystemExit(f"--data {data}: {path} has no recordings")
    return Recordings(dataset, split, path.parent, count, tuple(found))


def _count(path: Path) -> int:
    import h5py

    with h5py.File(path) as file:
        if "labels" not in file:
            raise SystemExit(f"{path} has no data set 'labels': it is not in the layout of SSC and SHD")
        return len(file["labels"])


def demo_recordings(folder: Path, count: int) -> Recordings:
    """Write demo recordings; return their split ``train``."""
    from spikestore.pipeline.demo.demo_data import write_demo_data

    write_demo_data(folder, train=count, valid=1, test=1)
    return Recordings("SSC", "train", folder / "SSC", count, ("train", "valid", "test"))


def recordings_of(data: Path | None, scratch: Path, count: int) -> Recordings:
    """Return the recordings of ``--data``, or `count` demo recordings without ``--data``."""
    return demo_recordings(scratch / "demo", count) if data is None else find_recordings(data)
