"""The published tokenizer: LLaMA 2's with the tokens of pictures added, as one `tokenizer.json`."""

import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import LlamaTokenizer

from story_model.tokens import StoryTokenizer

FILES = ("tokenizer.json", "tokenizer.model")


def read_tokenizer(folder: Path, num_image_tokens: int) -> Tokenizer:
    """Read a folder that holds `tokenizer.json`, or LLaMA's `tokenizer.model` with `added_tokens.json`.

    The latter is read as LLaMA's original code did: the text after each special token begins with a space of its own.

    Raises:
        ValueError: there is none, it cannot be read, or it lacks tokens of pictures.
    """
    try:
        if (folder / FILES[0]).is_file():
            tokenizer = Tokenizer.from_file(str(folder / FILES[0]))
        elif (folder / FILES[1]).is_file():
            tokenizer = _from_sentencepiece(folder)
        else:
            raise ValueError(f"{folder} holds no tokenizer ({' or '.join(FILES)})")
        StoryTokenizer(tokenizer, num_image_tokens)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    except Exception as error:  # noqa: BLE001 - the libraries raise bare `Exception` for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{folder} is damaged ({reason}); download it again") from None
    return tokenizer


def _from_sentencepiece(folder: Path) -> Tokenizer:
    """Read `tokenizer.model` so that it splits text as SentencePiece does, around tokens that were added."""
    found = LlamaTokenizer.from_pretrained(folder, legacy=True, local_files_only=True).backend_tokenizer
    state = json.loads(found.to_str())
    # SentencePiece puts its space before every text, also before one that begins with a space.
    state["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    state["pre_tokenizer"] = None
    for token in state["added_tokens"]:
        token |= {"normalized": False, "special": True}
    return Tokenizer.from_str(json.dumps(state))


def tokenizer_folders(folder: Path) -> list[Path]:
    """List folders that hold a tokenizer, the ones of LLaMA and SD-XL among them."""
    return sorted({path.parent for name in FILES for path in folder.rglob(name)})
