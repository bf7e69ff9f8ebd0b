"""The loader."""

from __future__ import annotations

import itertools
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from spikestore.store import FeatureSet, Store
from spikestore.store_schemas.errors import UsageError
from spikestore.train import FeatureDataset, FeatureLoader, TimeShift
from spikestore.train.data import placement as residences

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("residence", ["auto", "host", "device", "stream"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_residence_yields_the_samples_of_the_data_set(
    features: FeatureSet, residence: residences.Residence, shuffle: bool
) -> None:
    """Host, device and the map-style data set have the same samples; each comes once in an epoch."""
    dataset = FeatureDataset(features)
    place = {int(row): item for item, row in enumerate(dataset.rows)}
    seen = []
    for frames, labels, lengths, samples in FeatureLoader(features, 16, residence, shuffle=shuffle):
        for one in range(len(labels)):
            truth, label = dataset[place[int(samples[one])]]
            length = int(lengths[one])
            assert torch.equal(frames[one, :length], torch.from_numpy(truth).to(torch.float32))
            assert not frames[one, length:].any()
            assert int(labels[one]) == label
        seen += samples.tolist()
    assert sorted(seen) == dataset.rows.tolist()
    assert (seen == dataset.rows.tolist()) is not shuffle


@pytest.mark.parametrize("residence", ["host", "device", "stream"])
@pytest.mark.parametrize("name", ["store_65536", "store_continued"])
def test_inner_chunks_and_fill_values_change_nothing(name: str, residence: residences.Residence) -> None:
    """Every batch is that of the golden store with inner chunks of 262,144 values."""
    loaders = [
        FeatureLoader(Store(GOLDEN / folder)["golden:test"], 16, residence) for folder in ("store", name)
    ]
    for former, now in zip(*loaders, strict=True):
        assert torch.equal(former.frames, now.frames)
        assert torch.equal(former.samples, now.samples)


def test_order_depends_on_seed_and_epoch_only(features: FeatureSet) -> None:
    """The same seed and epoch have the same batches in any residence; each pass is the next epoch."""

    def rows(loader: FeatureLoader) -> list[int]:
        return [row for batch in loader for row in batch.samples.tolist()]

    first = FeatureLoader(features, 16, "host", shuffle=True, seed=7)
    epochs = [rows(first), rows(first)]
    assert epochs[0] != epochs[1]
    assert first.epoch == 2
    second = FeatureLoader(features, 10, "device", shuffle=True, seed=7)
    second.set_epoch(1)
    assert rows(second) == epochs[1]
    assert rows(FeatureLoader(features, 16, shuffle=True, seed=8)) != epochs[0]


def test_a_loop_that_counts_batches_gets_new_epochs_too(features: FeatureSet) -> None:
    """Lightning takes the known number of batches and never requests one more; an epoch can be selected again."""

    def rows(loader: FeatureLoader, batches: int) -> list[int]:
        return [row for batch in itertools.islice(loader, batches) for row in batch.samples.tolist()]

    loader, whole = (FeatureLoader(features, 16, shuffle=True, seed=7) for _ in range(2))
    truth = [[row for batch in whole for row in batch.samples.tolist()] for _ in range(3)]
    assert [rows(loader, 10) for _ in range(3)] == truth
    loader.set_epoch(2)
    assert rows(loader, 10) == truth[2]
    assert rows(loader, 9) != truth[2][: 9 * 16]


def test_a_state_of_any_epoch_that_can_be_set_can_be_loaded(features: FeatureSet) -> None:
    """`set_epoch` refuses an epoch if a state of it, or of the next epoch, could not be loaded."""
    loader = FeatureLoader(features, 64, shuffle=True)
    loader.set_epoch(2**62 - 2)
    states = [loader.state_dict() for _ in loader]
    assert loader.epoch == 2**62 - 1
    for state in (*states, loader.state_dict()):
        loader.load_state_dict(state)
    with pytest.raises(
        UsageError, match=r"^epoch must be at most 4611686018427387902, got 4611686018427387903$"
    ):
        loader.set_epoch(2**62 - 1)


def test_a_pass_that_was_left_counts_as_an_epoch(features: FeatureSet) -> None:
    """Each pass has the order of its own epoch, wherever the previous one stopped; `set_epoch` selects one again."""
    loader, whole = (FeatureLoader(features, 16, shuffle=True, seed=7) for _ in range(2))
    truth = [[row for batch in whole for row in batch.samples.tolist()] for _ in range(10)]

    def rows(batches: int) -> list[int]:
        return [row for batch in itertools.islice(loader, batches) for row in batch.samples.tolist()]

    passes = [rows(3) for _ in range(8)]
    assert passes == [truth[epoch][:48] for epoch in range(8)]
    assert len({row for one in passes for row in one}) > 130  # of 149; always the same 48 would be a third
    assert loader.epoch == 7
    loader.set_epoch(2)
    assert rows(4) == truth[2][:64]
    loader.set_epoch(2)
    assert rows(4) == truth[2][:64]
    assert rows(10) == truth[3]  # a whole pass after one that stopped early
    iter(loader)  # no batch was requested: no pass
    assert rows(1) == truth[4][:16]
    one, other = iter(loader), iter(loader)
    assert next(one).samples.tolist() == truth[5][:16]
    assert next(other).samples.tolist() == truth[6][:16]
    assert next(one).samples.tolist() == truth[5][16:32]
    state = loader.state_dict()  # of the newer pass
    assert (state["epoch"], state["batch"]) == (6, 1)


def test_length_and_drop_last(features: FeatureSet) -> None:
    """149 samples are 10 batches of 16, or 9 whole ones."""
    assert [len(batch.labels) for batch in FeatureLoader(features, 16)] == [16] * 9 + [5]
    assert len(FeatureLoader(features, 16)) == 10
    dropped = FeatureLoader(features, 16, drop_last=True)
    assert [len(batch.labels) for batch in dropped] == [16] * len(dropped) == [16] * 9
    for residence in ("host", "stream"):
        everything = FeatureLoader(features, 2**63, residence, shuffle=True)
        assert [len(batch.labels) for batch in everything] == [149]


def test_pad_to_fixes_the_shape(features: FeatureSet) -> None:
    """With pad_to all batches have one shape; less than the longest sample is refused at once."""
    assert {batch.frames.shape[1:] for batch in FeatureLoader(features, 149, pad_to=25)} == {(25, 1, 10)}
    with pytest.raises(UsageError, match="pad_to is 5, but the longest sample of SSC train has 19"):
        FeatureLoader(features, 16, pad_to=5)


def test_sparse_frames_on_request(features: FeatureSet) -> None:
    """`frames="sparse_coo"` gives the same numbers."""
    dense = next(iter(FeatureLoader(features, 16)))
    sparse = next(iter(FeatureLoader(features, 16, frames="sparse_coo")))
    assert sparse.frames.is_sparse
    assert torch.equal(sparse.frames.to_dense(), dense.frames)


def test_packed_set_takes_three_bytes_a_non_zero(features: FeatureSet) -> None:
    """It takes at most 3.2 bytes per non-zero, plus 28 per sample."""
    loader = FeatureLoader(features, 16, "device")
    assert loader.nbytes <= 3.2 * features.manifest.nnz + 28 * (len(features) + 1)


def test_rejects_values_that_do_not_fit(features: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is too large is rejected before it is loaded, with an estimate."""
    monkeypatch.setattr(residences, "free_host_bytes", lambda: 1000)
    for residence in ("host", "device"):
        with pytest.raises(UsageError, match=r"needs [0-9.]+ kB packed; the .* has 1\.0 kB free"):
            FeatureLoader(features, 16, residence)


def test_auto_logs_its_choice(features: FeatureSet, caplog: pytest.LogCaptureFixture) -> None:
    """`auto` logs its estimate and its choice."""
    with caplog.at_level(logging.INFO, "spikestore"):
        assert FeatureLoader(features, 16).residence == "host"
    assert "GB are free on the host: the set is kept on the host" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"residence": "disk"}, {"frames": "coo"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_refuses_nonsense(features: FeatureSet, wrong: dict[str, object]) -> None:
    """An invalid parameter is named."""
    with pytest.raises(UsageError, match=next(iter(wrong))):
        FeatureLoader(features, **{"batch_size": 16, **wrong})  # type: ignore[arg-type]


def test_slips_are_reported(features: FeatureSet) -> None:
    """A name instead of a feature set, an unknown or absent device, and a batch size that is no number are reported."""
    with pytest.raises(UsageError, match=r"features must be a FeatureSet, got 'demo:train': .*Store"):
        FeatureLoader("demo:train", 8)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must be a FeatureSet"):
        FeatureDataset("demo:train")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'potato' is not a device"):
        FeatureLoader(features, 8, device="potato")
    for size in ("8", 1.5, True):
        with pytest.raises(UsageError, match=r"batch_size must be a whole number"):
            FeatureLoader(features, size)  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        with pytest.raises(
            UsageError, match=r"no GPU for device cuda: .*; use the device 'cpu' or 'auto', or"
        ):
            FeatureLoader(features, 8, device="cuda")


def test_numbers_of_numpy_and_torch_are_numbers(features: FeatureSet) -> None:
    """Whole numbers and flags of any library are accepted, and a state has plain values."""
    loader = FeatureLoader(
        features,
        np.int64(16),  # type: ignore[arg-type]
        shuffle=np.bool_(True),  # type: ignore[arg-type]
        seed=torch.tensor(7),  # type: ignore[arg-type]
        pad_to=np.int32(features.manifest.n_bins),  # type: ignore[arg-type]
        device=torch.device("cpu"),
        drop_last=np.False_,  # type: ignore[arg-type]
        threads=np.int8(1),  # type: ignore[arg-type]
    )
    plain = FeatureLoader(features, 16, shuffle=True, seed=7, pad_to=features.manifest.n_bins)
    assert loader.state_dict() == plain.state_dict()
    assert {type(value) for value in loader.state_dict().values()} == {int, str}
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(loader, plain, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 16.0}, "batch_size must be a whole number of at least 1, got 16.0"),
        ({"batch_size": True}, "batch_size must be a whole number of at least 1, got True"),
        ({"shuffle": "False"}, "shuffle must be True or False, got 'False'"),
        ({"drop_last": 2}, "drop_last must be True or False, got 2"),
        ({"pad_to": 1e4}, "pad_to must be a whole number of at least 1, got 10000.0"),
        ({"augment": "jitter"}, r"augment must be a callable, such as TimeShift\(bins=5\), got 'jitter'"),
        ({"augment": [TimeShift(1), "jitter"]}, "augment must be .* got 'jitter'"),
        ({"augment": TimeShift}, r"must be an instance, such as TimeShift\(…\), got the class TimeShift"),
        ({"transform": "flip"}, "transform must be a callable"),
        ({"device": "mps"}, "torch can't use the device mps here"),
        ({"device": "meta"}, "the device 'meta' holds no numbers"),
        ({"rows": [0, 0]}, "rows has duplicates"),
        (
            {"weights": np.ones(77)},
            r"shape \(150,\), one weight for each row, or shape \(149,\), one weight for each sample; got \(77,\)",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_named_at_once(
    features: FeatureSet, arguments: dict[str, object], message: str
) -> None:
    """The error is raised at construction, not in a thread at the first batch."""
    with pytest.raises(UsageError, match=message):
        FeatureLoader(features, **{"batch_size": 16, **arguments})  # type: ignore[arg-type]


def test_weights_of_rows_and_of_items(features: FeatureSet) -> None:
    """There is one weight for each row of the set, or for each sample, in the order of a data set of the same rows."""
    dataset = FeatureDataset(features)
    of_items = torch.from_numpy(1.0 + dataset.targets)
    of_rows = np.ones(150)
    of_rows[dataset.rows] = of_items.numpy()
    one, other = (FeatureLoader(features, 16, weights=weights) for weights in (of_items, of_rows))
    assert one.state_dict() == other.state_dict()
    rows = dataset.rows[40:60]
    one, other = (FeatureLoader(features, 16, rows=rows, weights=weights) for weights in (of_items[40:60], of_rows))  # fmt: skip
    assert one.state_dict() == other.state_dict()


@pytest.mark.parametrize("residence", ["host", "stream"])
def test_attributes_of_a_dataloader_that_scripts_use(
    features: FeatureSet, residence: residences.Residence
) -> None:
    """Sizes, labels and flags exist; the error for an attribute without a meaning names a replacement."""
    loader = FeatureLoader(features, 16, residence, drop_last=True)
    truth = FeatureDataset(features)
    assert (len(loader.dataset), loader.batch_size, loader.drop_last) == (149, 16, True)
    assert np.array_equal(loader.dataset.targets, truth.targets)
    assert np.array_equal(loader.dataset.rows, truth.rows)
    assert loader.dataset.classes == truth.classes
    assert getattr(loader, "sampler", None) is None
    with pytest.raises(AttributeError, match="no attribute 'sampler': the loader has its own order"):
        loader.sampler  # noqa: B018
    with pytest.raises(UsageError, match="FeatureDataset for single samples"):
        loader.dataset[0]


def test_a_dataloader_around_it(features: FeatureSet) -> None:
    """``DataLoader(loader, batch_size=None)`` yields its batches."""
    inner = FeatureLoader(features, 16)
    batches = list(DataLoader(inner, batch_size=None))
    truth = list(FeatureLoader(features, 16))
    assert len(batches) == len(truth)
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(batches, truth, strict=True))


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ({"num_workers": 4}, "threads"),
        ({"sampler": object()}, "rows= and weights="),
        ({"batch_sampler": object()}, "rows= and weights="),
        ({"collate_fn": list}, "transform="),
        ({"pin_memory": True}, "already"),
        ({"generator": None}, "seed="),
        ({"worker_init_fn": print}, "threads"),
        ({"persistent_workers": True}, "threads"),
        ({"prefetch_factor": 2}, "threads"),
        ({"multiprocessing_context": "spawn"}, "threads"),
        ({"timeout": 10}, "threads"),
    ],
)
def test_arguments_of_a_dataloader(features: FeatureSet, argument: dict[str, Any], instead: str) -> None:
    """One line at construction names the argument and its replacement; the attribute has the same message."""
    (name,) = argument
    with pytest.raises(UsageError) as caught:
        FeatureLoader(features, 64, **argument)
    text = str(caught.value)
    assert text.startswith(f"FeatureLoader has no argument {name!r}: ")
    assert instead in text
    assert "\n" not in text
    if name != "batch_sampler":  # Lightning looks for this attribute
        with pytest.raises(AttributeError, match=re.escape(text.partition(": ")[2])):
            getattr(FeatureLoader(features, 64), name)


def test_arguments_that_nobody_knows(features: FeatureSet) -> None:
    """Unknown arguments raise Python's own TypeError."""
    with pytest.raises(TypeError, match=r"FeatureLoader has no argument 'shufle', did you mean 'shuffle'\?"):
        FeatureLoader(features, 64, shufle=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"FeatureLoader has no argument 'xyz'$"):
        FeatureLoader(features, 64, xyz=True)  # type: ignore[arg-type]


def test_repr_of_a_loader(features: FeatureSet) -> None:
    """The repr has the set, samples and batches, the order, the residence and the device."""
    loader = FeatureLoader(features, 64, "host", shuffle=True, seed=3)
    assert repr(loader) == (
        f"<FeatureLoader of {features!r}: {len(loader.dataset)} samples in {len(loader)} batches of 64, shuffle=True, seed=3, "
        "residence='host', device='cpu', next epoch 0>"
    )
    next(iter(loader))
    assert repr(FeatureLoader(features, 64, "stream")).endswith(
        "shuffle=False, seed=0, residence='stream', device='cpu', next epoch 0>"
    )


def test_parameters_after_residence_are_keyword_only(features: FeatureSet) -> None:
    """A bare True would not say which option it switches on."""
    loader: Any = FeatureLoader
    with pytest.raises(TypeError, match="positional"):
        loader(features, 16, "host", True)
