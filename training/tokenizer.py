"""The tokenizer of presets without a pretrained one: trained on the dataset's own text."""

from story_model.manifest import StepResult, write_atomically
from story_model.tokens import train_tokenizer
from training.corpus import load_chunks
from training.steps import Job


def make(job: Job) -> StepResult:
    """Train on the training captions and write `tokenizer.json`."""
    sizes = job.config.model.mllm
    texts = [caption for chunk in load_chunks(job, "train") for caption in chunk.captions]
    tokenizer = train_tokenizer(
        texts, vocab_size=sizes.language_model.vocab_size, num_image_tokens=sizes.num_image_tokens
    )
    write_atomically(job.out_dir / "tokenizer.json", tokenizer.to_str().encode())
    tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
    return StepResult(
        counts={"vocabulary": tokenizer.get_vocab_size(), "captions": len(texts), "tokens": tokens},
        metrics={"tokens_per_caption": tokens / max(len(texts), 1)},
    )
