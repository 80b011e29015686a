"""Folders of drawn pictures in the forms in which others keep theirs."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def drawn(number: int, size: tuple[int, int] = (40, 30), form: str = "JPEG") -> bytes:
    """Draw a picture that no other number has."""
    pixels = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(data, form)
    return data.getvalue()


def write_folder(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write picture files."""
    for name, data in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_tar(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> None:
    """Write a shard; what is no bytes is a member of its own kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, held in members.items():
            if isinstance(held, tarfile.TarInfo):
                archive.addfile(held)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(held)
            archive.addfile(member, io.BytesIO(held))


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Give a member that is a link."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def write_table(path: Path, pictures: Sequence[bytes | None], *, as_struct: bool, group: int = 2) -> None:
    """Write a Parquet file as Hugging Face's datasets do, or with a plain column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": one, "path": "/etc/hostname"} for one in pictures] if as_struct else list(pictures)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if as_struct else pa.binary()
    columns = {"image": pa.array(cells, kind), "caption": pa.array([f"caption {n}" for n in range(len(pictures))])}
    pq.write_table(pa.table(columns), path, row_group_size=group, write_page_checksum=True)
