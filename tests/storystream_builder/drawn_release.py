"""A release in StoryStream's published form, drawn on the spot: pictures in a tar archive, stories in a zip archive."""

import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(seed: int, size: tuple[int, int] = (48, 32)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(data, "JPEG")
    return data.getvalue()


def name(episode: int, second: int) -> str:
    return f"{episode:06d}/{episode:06d}_keyframe_0-{second // 60}-{second % 60}-7.jpg"


def names(episode: int, *seconds: int) -> list[str]:
    return [name(episode, second) for second in seconds]


def story(images: Sequence[str], *, number: int = 0, **changes: object) -> dict[str, object]:
    captions = [f"This is what {image} shows." for image in images]
    return {"id": number, "images": list(images), "captions": captions, "orders": list(range(len(images)))} | changes


def chunk(images: Sequence[str], *, number: int) -> dict[str, object]:
    return {key: value for key, value in story(images, number=number).items() if key != "orders"}


def write_tar(path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as archive:
        for member, data in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_pictures(path: Path, pictures: Iterable[str]) -> Path:
    return write_tar(path, [(one, jpeg(number)) for number, one in enumerate(dict.fromkeys(pictures))])


def lines(*stories: object) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in stories)


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, data in files.items():
            archive.writestr(one, data)
    return path
