"""What the store holds of a picture is what the frozen networks make of its square."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from story_model.build import build_autoencoder, build_image_encoder
from story_model.config import load_config
from story_model.dataset import StorySet, read_split
from story_model.pixels import decode_square, detokenizer_square, encoder_square, normalised, signed
from training.features import open_store
from training.makers import (
    FEATURES,
    LATENTS,
    SIZE_IDS,
    autoencoder_maker,
    encode_features,
    encode_latents,
    image_encoder_maker,
    square_pictures,
)
from training.rows import MIN_COSINE

MODEL = load_config(
    "tiny",
    [
        "model.image_encoder={image_size: 32, width: 32, layers: 1, num_queries: 4, output_dim: 32}",
        "model.detokenizer.picture_size=48",
        "model.detokenizer.transform=crop",
    ],
).model


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).resize((90, 50), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


def split_of(folder: Path, images: list[bytes]) -> StorySet:
    """Read a dataset whose stories show two of the pictures each."""
    stories = [
        {
            "story_id": f"s{first // 2}",
            "subset": "stories",
            "split": "train",
            "episode_id": "e",
            "images": [{"bytes": image} for image in images[first : first + 2]],
            "captions": ["one", "two"],
            "pts_ms": [0, 1],
            "image_sha256": [hashlib.sha256(image).hexdigest() for image in images[first : first + 2]],
        }
        for first in range(0, len(images), 2)
    ]
    (folder / "data" / "stories").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(stories), folder / "data" / "stories" / "train-00000-of-00001.parquet")
    return read_split(folder, "train")


def digests_of(split: StorySet) -> list[str]:
    return [digest for story in split.stories for digest in story.image_sha256]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@torch.no_grad()
def test_features_are_those_of_the_encoder(tmp_path, dtype):
    images = [picture(number) for number in range(6)]
    split = split_of(tmp_path, images)
    torch.manual_seed(0)
    encoder = build_image_encoder(MODEL.image_encoder).eval()
    maker = image_encoder_maker(MODEL, "weights", dtype)
    store = open_store(tmp_path / "store", maker)
    load = square_pictures(split.pictures, maker.square)
    made = store.make(digests_of(split), load, encode_features(encoder), batch_size=4, desc="features")
    pixels = torch.stack([decode_square(image, encoder_square(MODEL.image_encoder)).pixels for image in images])
    found = store.rows(digests_of(split), FEATURES)
    assert made.encodes == 6
    assert torch.cosine_similarity(found, encoder(normalised(pixels)), dim=-1).min() > MIN_COSINE


@torch.no_grad()
def test_latents_and_sizes_are_those_of_the_painted_square(tmp_path):
    images = [picture(number) for number in range(4)]
    split = split_of(tmp_path, images)
    torch.manual_seed(0)
    autoencoder = build_autoencoder(MODEL.detokenizer)
    autoencoder.fit(torch.rand(8, 3, 48, 48) * 2 - 1)
    maker = autoencoder_maker(MODEL, "weights")
    store = open_store(tmp_path / "store", maker)
    load = square_pictures(split.pictures, maker.square)
    store.make(digests_of(split), load, encode_latents(autoencoder, torch.device("cpu")), batch_size=3, desc="latents")
    squares = [decode_square(image, detokenizer_square(MODEL.detokenizer)) for image in images]
    latents = autoencoder.encode(signed(torch.stack([square.pixels for square in squares])))
    torch.testing.assert_close(store.rows(digests_of(split), LATENTS), latents, atol=1e-3, rtol=1e-3)
    assert store.rows(digests_of(split), SIZE_IDS).tolist() == [list(square.size_ids) for square in squares]


def test_a_picture_that_does_not_decode_names_its_story_and_its_story_is_left_out(tmp_path):
    split = split_of(tmp_path, [picture(0), picture(1), picture(2), picture(3)[:300]])
    encoder = build_image_encoder(MODEL.image_encoder).eval()
    maker = image_encoder_maker(MODEL, "weights", "bfloat16")
    store = open_store(tmp_path / "store", maker)
    load, encode = square_pictures(split.pictures, maker.square), encode_features(encoder)
    with pytest.raises(ValueError, match=r"story s1, picture 1 does not decode \(.+\)"):
        store.make(digests_of(split), load, encode, batch_size=2, desc="features")
    made = store.make(digests_of(split), load, encode, batch_size=2, desc="features", bad_records="skip")
    left = split.without(made.failures)
    assert [story.story_id for story in left.stories] == ["s0"]
    assert list(left.skipped) == ["s1"]
    assert store.rows(digests_of(left), FEATURES).shape == (2, 4, 32)


def test_other_squares_types_and_weights_are_other_makers():
    other = MODEL.model_copy(update={"image_encoder": MODEL.image_encoder.model_copy(update={"transform": "crop"})})
    makers = [
        image_encoder_maker(MODEL, "weights", "bfloat16"),
        image_encoder_maker(MODEL, "weights", "int8"),
        image_encoder_maker(MODEL, "other weights", "bfloat16"),
        image_encoder_maker(other, "weights", "bfloat16"),
        autoencoder_maker(MODEL, "weights"),
    ]
    assert MODEL.image_encoder.transform != "crop"
    assert len({maker.folder for maker in makers}) == len(makers)
