"""A run of a few drawn pictures, with networks that were never trained: what tests of training's data start from."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw

from story_model.build import build_autoencoder, build_image_encoder, build_llama, build_mllm
from story_model.checkpoint import save_weights
from story_model.config import Settings, load_config
from story_model.parts import load_tokenizer, tokenizer_path, weights_path
from story_model.tokens import train_tokenizer
from story_model.train_config import LaunchConfig
from story_model.workspace import RunFolder
from training.processes import Processes
from training.steps import Job

SHAPES = [(90, 50), (50, 90), (64, 64), (101, 60)]
CAPTIONS = ["Pip runs.", "Luna sleeps in the city.", "Bolt waves at the beach.", "Tiko jumps."]
SMALL = [
    "build.stories.chunk_length=4",
    "model.image_encoder={image_size: 32, width: 32, layers: 1, num_queries: 4, output_dim: 32}",
    "model.mllm.language_model={vocab_size: 300, hidden_size: 32, intermediate_size: 48, layers: 1}",
    "model.mllm.num_image_tokens=4",
    "train.validation_samples=2",
]
SAME_SQUARES = [*SMALL, "model.detokenizer.picture_size=32"]
OTHER_SQUARES = [
    *SMALL,
    "model.image_encoder.transform=squash",
    "model.detokenizer.transform=crop",
    "model.detokenizer.picture_size=48",
]
PARTS = ("tokenizer", "image_encoder", "autoencoder", "stage2")


def picture(number: int) -> bytes:
    """Draw a picture whose parts differ; numbers have shapes of their own."""
    width, height = SHAPES[number % len(SHAPES)]
    image = Image.new("RGB", (width, height), (20 * number % 256, 90, 160))
    ImageDraw.Draw(image).ellipse((3, 5, width // 2, height - 9), fill=(250, 30 * number % 256, 10))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def row_of(story_id: str, split: str, images: Sequence[bytes], *, subset: str = "stories") -> dict[str, object]:
    """Give a story's row of the dataset; captions go round."""
    count = len(images)
    return {
        "story_id": story_id,
        "subset": subset,
        "split": split,
        "episode_id": story_id,
        "images": [{"bytes": image} for image in images],
        "captions": [CAPTIONS[number % len(CAPTIONS)] for number in range(count)],
        "pts_ms": list(range(count)),
        "image_sha256": [hashlib.sha256(image).hexdigest() for image in images],
    }


def write_dataset(dataset_dir: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows to a file a subset and split."""
    files: dict[tuple[object, object], list[Mapping[str, object]]] = {}
    for row in rows:
        files.setdefault((row["subset"], row["split"]), []).append(row)
    for (subset, split), held in files.items():
        path = dataset_dir / "data" / str(subset) / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(held)), path, write_page_checksum=True)


def write_networks(job: Job) -> None:
    """Put untrained networks where a run's trained ones belong."""
    torch.manual_seed(0)
    folder, model = job.folder, job.config.model
    for part in PARTS:
        folder.part_dir(part).mkdir(parents=True)
    train_tokenizer(CAPTIONS, vocab_size=300, num_image_tokens=4).save(str(tokenizer_path(folder)))
    save_weights(build_image_encoder(model.image_encoder), weights_path(folder, "image_encoder"))
    autoencoder = build_autoencoder(model.detokenizer)
    autoencoder.fit(torch.rand(8, 3, 48, 48) * 2 - 1)
    save_weights(autoencoder, weights_path(folder, "autoencoder"))
    mllm = build_mllm(model, build_llama(model, load_tokenizer(folder, model)))
    save_weights(mllm, weights_path(folder, "stage2"))


def job_of(folder: RunFolder, overrides: Sequence[str]) -> Job:
    """Set up a part's job on the CPU."""
    settings, processes = Settings(_env_file=None), Processes(torch.device("cpu"))
    return Job(folder, load_config("tiny", list(overrides)), settings, folder.root / "out", LaunchConfig(), processes)


def small_job(root: Path, overrides: Sequence[str], *, train: Sequence[Mapping[str, object]] = ()) -> Job:
    """Make a run with two stories (or those of `train`, and a validation story) and untrained networks."""
    job = job_of(RunFolder(root), overrides)
    stories = list(train) or [row_of("train", "train", [picture(number) for number in range(4)])]
    held_out = row_of("validation", "validation", [picture(number) for number in range(4, 8)])
    write_dataset(job.folder.dataset_dir, [*stories, held_out])
    write_networks(job)
    job.folder.features_dir.mkdir(exist_ok=True)
    return job
