from pathlib import Path

import pytest
import torch
from published import DETOKENIZER, ENCODER, MLLM, TOKENIZER, Published, old_names

from story_model.released.check import Findings, Row, check


def row(findings: Findings, what: str) -> Row:
    return next(row for row in findings.rows if row.what == what)


def test_a_complete_folder_is_complete(published: Published) -> None:
    published.write_all()
    findings = check(published.root, published.config)
    assert findings.is_complete, findings.complaint
    assert set(findings.plans) == {"image encoder", "MLLM", "de-tokenizer"}
    assert findings.variant == "seed-story"
    assert row(findings, "MLLM").path == MLLM


def test_what_is_missing_is_named_with_its_publisher(published: Published) -> None:
    published.write_encoder()
    findings = check(published.root, published.config)
    assert not findings.is_complete
    assert row(findings, "MLLM").verdict == "missing"
    assert "TencentARC/SEED-Story" in row(findings, "tokenizer").note


def test_a_detokenizer_in_a_foreign_place_wants_its_variant(published: Published) -> None:
    published.write_all()
    (published.root / DETOKENIZER).rename(published.path("mine/pytorch_model.bin"))
    assert "--variant" in row(check(published.root, published.config), "de-tokenizer").note
    assert check(published.root, published.config, variant="seed-story").is_complete


def test_seed_xs_detokenizer_is_known_by_its_folder(published: Published) -> None:
    published.write_all()
    (published.root / DETOKENIZER).rename(published.path("seed_detokenizer/first_stage/pytorch_model.bin"))
    assert check(published.root, published.config).variant == "seed-x"


def test_of_two_language_models_the_one_at_its_place_is_taken(published: Published) -> None:
    published.write_all()
    other = published.save("seedx/checkpoint-30000/pytorch_model.bin", old_names(published.mllm))
    assert row(check(published.root, published.config), "MLLM").path == MLLM
    findings = check(published.root, published.config, named={"MLLM": other})
    assert row(findings, "MLLM").path == "seedx/checkpoint-30000/pytorch_model.bin"
    (published.root / MLLM).rename(published.path("mine/pytorch_model.bin"))
    assert "several files of the MLLM" in row(check(published.root, published.config), "MLLM").note


def test_the_tokenizer_needs_the_tokens_of_pictures(published: Published) -> None:
    published.write_all()
    published.write_tokenizer(num_image_tokens=1)
    assert "<img_00001>" in row(check(published.root, published.config), "tokenizer").note
    (published.root / TOKENIZER / "tokenizer.json").write_text("{")
    assert "damaged" in row(check(published.root, published.config), "tokenizer").note


def test_the_tokenizer_has_as_many_words_as_the_network(published: Published) -> None:
    published.write_all()
    config = published.config
    larger = config.mllm.language_model.model_copy(update={"vocab_size": config.mllm.language_model.vocab_size + 1})
    config = config.model_copy(update={"mllm": config.mllm.model_copy(update={"language_model": larger})})
    findings = check(published.root, config)
    assert row(findings, "tokenizer").verdict == "wrong"
    assert row(findings, "MLLM").verdict == "wrong"


def test_a_damaged_file_is_told_where_it_belongs(published: Published) -> None:
    published.write_all()
    path = published.root / ENCODER
    path.write_bytes(path.read_bytes()[:2000])
    found = row(check(published.root, published.config), "image encoder")
    assert found.verdict == "wrong"
    assert "damaged" in found.note


def test_files_of_no_use_are_listed_as_such(published: Published) -> None:
    published.write_all()
    published.save("more/extra.pt", {"x": torch.zeros(3)})
    published.write_unet()
    rows = check(published.root, published.config).rows
    assert {row.path: row.verdict for row in rows}["more/extra.pt"] == "unused"
    assert row(check(published.root, published.config), "SD-XL UNet").verdict == "spare"


def test_a_folder_that_is_none_is_an_error(published: Published, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        check(tmp_path / "nowhere", published.config)
