"""Stores that hold what is asked of them: what is missing is made, by all processes together."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from story_model.dataset import BadRecords
from training.features import Maker, Store, open_store
from training.steps import Job

Item = TypeVar("Item")

_BATCH = 32


def filled_store(
    job: Job,
    maker: Maker,
    keys: Sequence[str],
    load: Callable[[str], Item],
    encoder: Callable[[], Callable[[Sequence[Item]], Mapping[str, Tensor]]],
    *,
    desc: str,
    count_as: str,
    bad_records: BadRecords = "raise",
) -> tuple[Store, dict[str, str]]:
    """Open a maker's store with a row for every key, and say why some have none (`bad_records`).

    The network is asked for (`encoder`) only where something is missing. What was made is added to the part's counts.
    Where features are not to be stored, the store is the part's own and goes with it.
    """
    features, processes = job.config.train.features, job.processes
    root = job.folder.features_dir if features.enabled else job.out_dir / ".features"
    root.mkdir(parents=True, exist_ok=True)
    store = open_store(root, maker, shard_pictures=features.shard_pictures)
    failures: dict[str, str] = {}
    if processes.any(bool(store.missing(keys))):
        made = store.make(
            keys,
            load,
            encoder(),
            batch_size=_BATCH,
            desc=desc,
            rank=processes.rank,
            world=processes.count,
            bad_records=bad_records,
        )
        failures = made.failures
        # Also waits for the others' shares.
        job.count(**{count_as: int(processes.sum([made.encodes])[0])})
    if processes.count > 1:
        store.refresh()
        failures = {key: failures.get(key, "it cannot be read") for key in store.missing(keys)}
    return store, failures
