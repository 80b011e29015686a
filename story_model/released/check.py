"""What a folder of published weights holds against what is needed: one row a file, and a plan for each network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from story_model.build import llama2_vocabulary
from story_model.config import MllmConfig, ModelConfig
from story_model.released.inventory import Entry, choose, damaged_at, entry_at, survey
from story_model.released.kinds import PLACES, TOKENIZER_PLACE, Kind, Place, Variant, variant_of
from story_model.released.networks import Network, networks
from story_model.released.plans import (
    Plan,
    Source,
    plan_autoencoder,
    plan_detokenizer,
    plan_image_encoder,
    plan_mllm,
)
from story_model.released.tokenizer import read_tokenizer, tokenizer_folders

Verdict = Literal["ok", "wrong", "missing", "spare", "unused"]


@dataclass(frozen=True)
class Row:
    """One line of the answer."""

    verdict: Verdict
    what: str
    """The network, or the kind of file."""
    path: str
    note: str
    entry: Entry | None = None


@dataclass(frozen=True)
class Findings:
    """All that is known about a folder."""

    rows: list[Row]
    plans: dict[Kind, Plan]
    tokenizer: Path | None
    variant: Variant | None
    """Whose de-tokenizer it is."""

    @property
    def is_complete(self) -> bool:
        """Whether every network can be loaded."""
        return not any(row.verdict in {"wrong", "missing"} for row in self.rows)

    @property
    def complaint(self) -> str:
        """What is first to be mended."""
        row = next(row for row in self.rows if row.verdict in {"wrong", "missing"})
        return row.note if row.verdict == "wrong" else f"no {row.what}: {row.note}"


def check(
    folder: Path, config: ModelConfig, *, named: Mapping[Kind, Path] | None = None, variant: Variant | None = None
) -> Findings:
    """Look through a folder; `named` files are taken instead of looked for, `variant` says whose de-tokenizer it is.

    Raises:
        ValueError: there is no such folder, or a named file cannot be read.
    """
    surveyed = _Survey(folder, survey(folder), {kind: entry_at(path) for kind, path in (named or {}).items()})
    plans: dict[Kind, Plan] = {}
    rows: list[Row] = []
    for network in networks(config).values():
        row, plan = _row(network, config, surveyed, variant)
        if network.kind == "de-tokenizer" and row.entry is not None:
            variant = variant or variant_of(row.entry.path)
        rows.append(row)
        if plan is not None:
            plans[network.kind] = plan
    tokenizer_row, tokenizer = _tokenizer(folder, config.mllm)
    rows.append(tokenizer_row)
    used = {source.file.path for plan in plans.values() for source in plan.slots.values() if isinstance(source, Source)}
    bases = [_base_row(place, surveyed, used) for place in PLACES if place.is_base]
    rows += [row for row in bases if row is not None]
    told = {row.entry.path for row in rows if row.entry is not None}
    rows += [_other(entry, folder) for entry in surveyed.entries if entry.path not in told]
    return Findings(rows, plans, tokenizer, variant)


@dataclass(frozen=True)
class _Survey:
    folder: Path
    entries: list[Entry]
    named: dict[Kind, Entry]

    def found(self, kind: Kind) -> Entry | None:
        return self.named.get(kind) or choose(self.entries, _place(kind), self.folder)

    def base(self, kind: Kind) -> Path | None:
        entry = self.found(kind)
        return None if entry is None else entry.path


def _place(kind: Kind) -> Place:
    return next(place for place in PLACES if place.kind == kind)


def _row(network: Network, config: ModelConfig, surveyed: _Survey, variant: Variant | None) -> tuple[Row, Plan | None]:
    """Plan one network, or tell why it cannot be."""
    kind, place = network.kind, _place(network.kind)
    try:
        entry = surveyed.found(kind)
        if entry is None:
            broken = damaged_at(surveyed.entries, place, surveyed.folder)
            if broken is not None:
                return Row("wrong", kind, _short(broken.path, surveyed.folder), broken.problem or "", broken), None
            return Row("missing", kind, place.path, f"download it from {place.source}"), None
    except ValueError as error:
        return Row("wrong", kind, "", str(error)), None
    path, shapes = _short(entry.path, surveyed.folder), network.shapes(config)
    try:
        if kind == "image encoder":
            plan = plan_image_encoder(entry.path, shapes)
        elif kind == "MLLM":
            plan = plan_mllm(entry.path, shapes, base=surveyed.base("LLaMA"))
        elif kind == "de-tokenizer":
            plan = plan_detokenizer(
                entry.path, shapes, variant=variant or variant_of(entry.path), base=surveyed.base("SD-XL UNet")
            )
        else:
            plan = plan_autoencoder(entry.path, shapes)
    except ValueError as error:
        return Row("wrong", kind, path, str(error), entry), None
    return Row("ok", kind, path, _note(entry, plan), entry), plan


def _note(entry: Entry, plan: Plan) -> str:
    own = sum(isinstance(slot, Source) and slot.file.path == entry.path for slot in plan.slots.values())
    if own == len(plan.slots):
        return entry.describe()
    return f"{entry.describe()}; trained weights alone, the other {len(plan.slots) - own} come from its base"


def _base_row(place: Place, surveyed: _Survey, used: set[Path]) -> Row | None:
    entry = surveyed.found(place.kind)
    if entry is None:
        return None
    path = _short(entry.path, surveyed.folder)
    if entry.path in used:
        return Row("ok", place.kind, path, entry.describe(), entry)
    return Row("spare", place.kind, path, "not needed: the other files hold all weights", entry)


def _tokenizer(folder: Path, config: MllmConfig) -> tuple[Row, Path | None]:
    """Find the tokenizer that knows pictures among those of LLaMA and SD-XL."""
    home = folder / TOKENIZER_PLACE.path
    wanted = llama2_vocabulary(config).vocab_size
    problems = []
    for candidate in [home] if home.is_dir() else tokenizer_folders(folder):
        try:
            size = read_tokenizer(candidate, config.num_image_tokens).get_vocab_size()
            if size != wanted:
                raise ValueError(f"{candidate} has {size} tokens; the language model has {wanted}")
        except ValueError as error:
            problems.append(str(error))
            continue
        note = f"{size} tokens, {config.num_image_tokens} of a picture and its begin and end among them"
        return Row("ok", "tokenizer", _short(candidate, folder), note), candidate
    if home.is_dir():
        return Row("wrong", "tokenizer", TOKENIZER_PLACE.path, problems[0]), None
    return Row("missing", "tokenizer", TOKENIZER_PLACE.path, f"download it from {TOKENIZER_PLACE.source}"), None


def _other(entry: Entry, folder: Path) -> Row:
    path = _short(entry.path, folder)
    if entry.problem is not None:
        return Row("unused", "unreadable", path, entry.problem, entry)
    verdict: Verdict = "unused" if entry.kind == "other" else "spare"
    return Row(verdict, entry.kind, path, entry.describe(), entry)


def _short(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
