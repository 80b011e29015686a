"""Encoder and de-tokenizer each see a picture as the square that they are configured for, and the same picture."""

import hashlib
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageDraw

from story_model.build import build_autoencoder, build_image_encoder, build_llama, build_mllm
from story_model.checkpoint import save_weights
from story_model.config import Settings, load_config
from story_model.dataset import Story
from story_model.detokenizer import size_ids
from story_model.parts import load_tokenizer, tokenizer_path, weights_path
from story_model.pixels import SquarePicture, decode_square, detokenizer_square, encoder_square, normalised, signed
from story_model.tokens import train_tokenizer
from story_model.workspace import RunFolder
from training import pictures
from training.batches import every_target
from training.corpus import load_chunks, load_split
from training.stage3_adapt import predicted_views
from training.steps import Job
from training.views import load_views

SHAPES = [(90, 50), (50, 90), (64, 64), (101, 60)]
CAPTIONS = ["Pip runs.", "Luna sleeps in the city.", "Bolt waves at the beach.", "Tiko jumps."]
SMALL = [
    "build.stories.chunk_length=4",
    "model.image_encoder={image_size: 32, width: 32, layers: 1, num_queries: 4, output_dim: 32}",
    "model.mllm.language_model={vocab_size: 300, hidden_size: 32, intermediate_size: 48, layers: 1}",
    "model.mllm.num_image_tokens=4",
    "train.validation_samples=2",
]
SAME = [*SMALL, "model.detokenizer.picture_size=32"]
OTHER = [
    *SMALL,
    "model.image_encoder.transform=squash",
    "model.detokenizer.transform=crop",
    "model.detokenizer.picture_size=48",
]


def picture(number: int) -> bytes:
    """Draw a picture whose parts differ; numbers have shapes of their own."""
    width, height = SHAPES[number % len(SHAPES)]
    image = Image.new("RGB", (width, height), (20 * number, 90, 160))
    ImageDraw.Draw(image).ellipse((3, 5, width // 2, height - 9), fill=(250, 30 * number, 10))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def write_dataset(folder: RunFolder) -> None:
    (folder.dataset_dir / "data" / "stories").mkdir(parents=True)
    for split, first in (("train", 0), ("validation", 4)):
        images = [picture(first + number) for number in range(4)]
        story = {
            "story_id": split,
            "subset": "stories",
            "split": split,
            "episode_id": split,
            "images": [{"bytes": image} for image in images],
            "captions": CAPTIONS,
            "pts_ms": [0, 1, 2, 3],
            "image_sha256": [hashlib.sha256(image).hexdigest() for image in images],
        }
        path = folder.dataset_dir / "data" / "stories" / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist([story]), path, write_page_checksum=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made = RunFolder(tmp_path_factory.mktemp("run"))
    write_dataset(made)
    return made


def job_of(folder: RunFolder, overrides: list[str]) -> Job:
    return Job(folder, load_config("tiny", overrides), Settings(_env_file=None), folder.root / "out")


@pytest.fixture
def decoded(monkeypatch) -> list[bytes]:
    """List each picture that is decoded."""
    seen: list[bytes] = []

    def decode(data: bytes, square) -> SquarePicture:
        seen.append(data)
        return decode_square(data, square)

    monkeypatch.setattr(pictures, "decode_square", decode)
    return seen


@torch.no_grad()
def views_and_parts(job: Job):
    torch.manual_seed(0)
    encoder = build_image_encoder(job.config.model.image_encoder).eval()
    autoencoder = build_autoencoder(job.config.model.detokenizer)
    autoencoder.fit(torch.rand(8, 3, 48, 48) * 2 - 1)
    return load_views(job, "train", encoder, autoencoder), encoder, autoencoder


def shown(story: Story, square) -> list[SquarePicture]:
    return [decode_square(image, square) for image in story.images]


@pytest.mark.parametrize("overrides", [SAME, OTHER], ids=["same squares", "other squares"])
@torch.no_grad()
def test_each_network_sees_its_own_square_of_the_same_picture(folder, overrides) -> None:
    job = job_of(folder, overrides)
    views, encoder, autoencoder = views_and_parts(job)
    model, (story,) = job.config.model, load_chunks(job, "train")
    seen, painted = (
        shown(story, square) for square in (encoder_square(model.image_encoder), detokenizer_square(model.detokenizer))
    )
    values = signed(torch.stack([one.pixels for one in painted]))
    assert torch.equal(views.pictures, values)
    assert torch.equal(views.latents, autoencoder.encode(values))
    assert views.size_ids.tolist() == [list(one.size_ids) for one in painted]
    torch.testing.assert_close(views.features, encoder(normalised(torch.stack([one.pixels for one in seen]))))


def test_pictures_are_decoded_again_only_for_another_square(folder, decoded) -> None:
    views_and_parts(job_of(folder, SAME))
    assert len(decoded) == len(set(decoded)) == 4
    decoded.clear()
    views_and_parts(job_of(folder, OTHER))
    assert len(decoded) == 8
    assert len(set(decoded)) == 4


def test_one_square_is_held_once(folder) -> None:
    model = job_of(folder, SAME).config.model
    split = load_split(job_of(folder, SAME), "train", encoder_square(model.image_encoder))
    assert split.pictures_as(detokenizer_square(model.detokenizer)) is split.pictures


def test_other_squares_are_in_the_same_rows(folder) -> None:
    job = job_of(folder, OTHER)
    split = load_split(job, "train", encoder_square(job.config.model.image_encoder))
    assert split.pictures_as(detokenizer_square(job.config.model.detokenizer)).rows == split.pictures.rows


def test_squashed_pictures_are_trained_with_the_sizes_that_they_are_painted_with(folder) -> None:
    views, *_ = views_and_parts(job_of(folder, SAME))
    assert torch.equal(views.size_ids, size_ids(32, 4))


def test_chosen_pictures_keep_their_own_views(folder) -> None:
    views, *_ = views_and_parts(job_of(folder, OTHER))
    chosen = views.rows([3, 1])
    for name in ("pictures", "latents", "features", "size_ids"):
        assert torch.equal(getattr(chosen, name), getattr(views, name)[[3, 1]])
    assert chosen.size_ids[0].tolist() != chosen.size_ids[1].tolist()


def test_stage_3_s_views_show_the_targets_as_the_de_tokenizer_paints_them(folder) -> None:
    job = job_of(folder, OTHER)
    model = job.config.model
    for part in ("tokenizer", "image_encoder", "stage2"):
        folder.part_dir(part).mkdir(parents=True, exist_ok=True)
    train_tokenizer(CAPTIONS, vocab_size=300, num_image_tokens=4).save(str(tokenizer_path(folder)))
    save_weights(build_image_encoder(model.image_encoder), weights_path(folder, "image_encoder"))
    mllm = build_mllm(model, build_llama(model, load_tokenizer(folder, model)))
    save_weights(mllm, weights_path(folder, "stage2"))
    train, held_out = predicted_views(job, build_autoencoder(model.detokenizer))
    (story,) = load_chunks(job, "train")
    painted = shown(story, detokenizer_square(model.detokenizer))
    expected = [painted[target] for _, target in every_target([story])]
    assert torch.equal(train.pictures, signed(torch.stack([one.pixels for one in expected])))
    assert train.size_ids.tolist() == [list(one.size_ids) for one in expected]
    assert train.features.shape == (3, 4, 32)
    assert len(held_out.pictures) == len(held_out.size_ids) == 2
