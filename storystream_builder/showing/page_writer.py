"""Pages that need nothing beside their pictures: style and script stand in each, and nothing else may run there.

Whatever comes from data is escaped by the template engine; a policy in the page forbids every script but ours, should
anything ever get past it.
"""

import base64
import hashlib
import shutil
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from storystream_builder.showing.safe_text import link, shown

_TEMPLATES = Path(__file__).parent / "pages"
_MARK = ".storystream-pages"
_THUMBNAILS = "thumbnails"


class PageWriter:
    """Renders templates into a folder."""

    def __init__(self, out: Path) -> None:
        """Take the folder, which `open_folder` has prepared."""
        self._out = out
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"shown": shown, "link": link, "clock": clock, "score": _score}
        script = (_TEMPLATES / "keys.js").read_text()
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        self._environment.globals |= {
            "script": Markup(script),
            "script_hash": f"sha256-{digest}",
            "style": Markup((_TEMPLATES / "style.css").read_text()),
        }

    def write(self, name: str, template: str, /, **values: object) -> Path:
        """Render a template into `name` in the folder."""
        path = self._out / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(self._environment.get_template(template).render(**values), encoding="utf-8")
        return path


def open_folder(out: Path, *, dataset_dir: Path) -> None:
    """Prepare a folder for pages.

    Raises:
        ValueError: it lies in the dataset, or holds something else.
    """
    if out.resolve().is_relative_to(dataset_dir.resolve()):
        raise ValueError(f"{out} lies in the dataset, which is published as it is; give another folder with --out")
    if out.exists() and not (out.is_dir() and ((out / _MARK).is_file() or not any(out.iterdir()))):
        raise ValueError(f"{out} holds something else than pages; give an empty or a new folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()


def clear_folder(out: Path) -> None:
    """Take away pages and pictures that were written before."""
    for name in ("episodes", _THUMBNAILS):
        shutil.rmtree(out / name, ignore_errors=True)
    for page in out.glob("*.html"):
        page.unlink()


def clock(milliseconds: int) -> str:
    """Write a time in a film: `1:02:03.4`, `2:03.4`."""
    tenths = round(milliseconds / 100)
    seconds, minutes, hours = tenths / 10 % 60, tenths // 600 % 60, tenths // 36000
    return f"{hours}:{minutes:02d}:{seconds:04.1f}" if hours else f"{minutes}:{seconds:04.1f}"


def _score(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
