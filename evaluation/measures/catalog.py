"""Every measure of stories, in reading order: what it means, and which way is better."""

from collections.abc import Iterable

from evaluation.measures.measure import Measure

_COPY = "nearly identical (mean difference under 3 % of the value range)"
_NETWORKS = {"similarity": "fixed random features", "clip_i": "CLIP", "dino_i": "DINOv2"}


def _drawn() -> list[Measure]:
    return [
        Measure("character_agrees", "higher", "Share of pictures that show the one character whom their text names."),
        Measure("place_agrees", "higher", "Share of pictures that show the one place that their text names."),
    ]


def _alignment() -> list[Measure]:
    return [
        Measure("clip_t", "higher", "Cosine of picture and own text in CLIP (CLIP-T)."),
        Measure("clip_score", "higher", "CLIPScore: 2.5 times the cosine of picture and own text, at least 0."),
        Measure(
            "clip_t_rank", "higher", "1 / rank of the own text among its story's texts by cosine with the picture."
        ),
        Measure("clip_t_first", "higher", "Share of pictures whose own text is the nearest of its story's texts."),
        Measure("clip_t_cut", "lower", "Share of texts longer than CLIP reads: only their beginning was measured."),
    ]


def _likeness(prefix: str, network: str) -> list[Measure]:
    return [
        Measure(f"{prefix}_reference", "higher", f"Cosine with the dataset's picture of the same index ({network})."),
        Measure(
            f"{prefix}_reference_rank",
            "higher",
            f"1 / rank of the dataset's picture of the same index among those of the story ({network}).",
        ),
        Measure(f"{prefix}_opening", None, f"Cosine with the opening's picture ({network})."),
        Measure(f"{prefix}_neighbours", None, f"Cosine of a picture and the one before it ({network})."),
        Measure(f"{prefix}_earlier", None, f"Mean cosine with all earlier pictures of the story ({network})."),
        Measure(f"{prefix}_within", None, f"Mean cosine with the story's other pictures ({network})."),
        Measure(f"{prefix}_across", None, f"Mean cosine with the pictures of other stories ({network})."),
        Measure(
            f"{prefix}_same_index",
            None,
            f"Mean cosine with other stories' pictures of the same index ({network}); far above the dataset's own, "
            "different stories have become one.",
        ),
        Measure(
            f"{prefix}_variety_ratio",
            None,
            f"Variety of the story's pictures (1 - mean cosine) over the dataset's ({network}); 0: one picture.",
        ),
        Measure(
            f"{prefix}_vendi",
            None,
            f"Vendi score over the number of pictures ({network}): 1 where all differ, near 0 where all are one.",
        ),
    ]


def _style() -> list[Measure]:
    return [
        Measure("style_opening", None, "Likeness of style with the opening: cosine of early channels' statistics."),
        Measure("style_within", None, "Likeness of style with the story's other pictures."),
        Measure("style_reference", "higher", "Likeness of style with the dataset's picture of the same index."),
        Measure("colours_opening", None, "Share of colours in common with the opening."),
        Measure("colours_within", None, "Mean share of colours in common with the story's other pictures."),
    ]


def _characters() -> list[Measure]:
    seen = {
        "character": "as the probe of the drawn series sees them",
        "clip_character": "CLIP, whole pictures",
        "dino_character": "DINOv2, whole pictures",
    }
    return [
        measure
        for prefix, how in seen.items()
        for measure in (
            Measure(f"{prefix}_likeness", None, f"Cosine with earlier pictures of the character named ({how})."),
            Measure(
                f"{prefix}_contrast",
                "higher",
                f"Cosine with earlier pictures of the character named minus that with others' ({how}).",
            ),
        )
    ]


def _copies() -> list[Measure]:
    return [
        Measure("copies_of_opening", "lower", f"Share of pictures {_COPY} to the opening."),
        Measure("copies_of_previous", "lower", f"Share of pictures {_COPY} to the one before."),
        Measure("copies_of_any_earlier", "lower", f"Share of pictures {_COPY} to the opening or any one before."),
        Measure("copies_of_training", "lower", f"Share of pictures {_COPY} to a sampled training keyframe: at least."),
        Measure(
            "training_difference", None, "Mean absolute difference from the nearest sampled training keyframe (0-1)."
        ),
        Measure(
            "similarity_training", None, "Cosine with the nearest sampled training keyframe (fixed random features)."
        ),
    ]


def _texts() -> list[Measure]:
    return [
        Measure("text_words", None, "Words a text."),
        Measure("text_empty", "lower", "Share of texts without a word."),
        Measure("text_overlap", "higher", "F1 of words with the dataset's text of the same index."),
        Measure("text_repeated", "lower", "Share of texts told before in the story, word for word."),
        Measure("text_nearest_earlier", "lower", "F1 of words with the most similar earlier text of the story."),
        *(
            Measure(f"text_rep_{n}", "lower", f"rep-{n}: share of a story's {n}-grams said before in it.")
            for n in (2, 3, 4)
        ),
        *(
            Measure(f"text_said_before_{n}", "lower", f"Share of a text's {n}-grams said before in the story or in it.")
            for n in (2, 4)
        ),
        Measure(
            "text_said_elsewhere_4",
            None,
            "Share of a text's 4-grams that other stories of the system say too; far above the dataset's own, "
            "different stories have become one.",
        ),
    ]


def _entities() -> list[Measure]:
    return [
        Measure("text_names_character", None, "Share of texts that name a character of the drawn series."),
        Measure("text_names_place", None, "Share of texts that name a place of the drawn series."),
        Measure("entities_named", None, "Names a text."),
        Measure("entities_new", None, "Names a text that the story did not have before."),
        Measure("entities_mentioned_before", None, "Share of a text's names that the story had before."),
        Measure("entities_kept", None, "Share of the names of the text before that are named again."),
        Measure("entities_of_opening", None, "Share of texts that name somebody or something of the opening."),
        Measure("entities_reference", "higher", "F1 of names with the dataset's text of the same index."),
    ]


CATALOG: tuple[Measure, ...] = (
    *_drawn(),
    *_alignment(),
    *(measure for prefix, network in _NETWORKS.items() for measure in _likeness(prefix, network)),
    *_style(),
    *_characters(),
    *_copies(),
    *_texts(),
    *_entities(),
)
"""In reading order: what a picture shows first, then likeness, copies, and words."""
OF_TEXTS = ("text_", "entities_")
"""How names of measures begin that look at no picture."""
AGAINST_THE_DATASET = frozenset(
    measure.name
    for measure in CATALOG
    if measure.name.endswith(("_reference", "_reference_rank", "_variety_ratio")) or measure.name == "text_overlap"
)
"""Comparisons with the dataset's own story: of the dataset itself they say nothing."""


def beside_other_stories(name: str) -> bool:
    """Tell whether a story's value depends on which other stories were told.

    Untrained features are standardised by the dataset's pictures behind all stories told; other measures look at other
    stories themselves.
    """
    standardised = name.startswith(("similarity_", "style_"))
    return standardised or name.endswith(("_across", "_same_index", "_said_elsewhere_4"))


def in_reading_order(names: Iterable[str]) -> list[Measure]:
    """Look measures up by name, in the order in which they are read.

    Raises:
        KeyError: the catalogue does not have a name.
    """
    asked = set(names)
    found = [measure for measure in CATALOG if measure.name in asked]
    if unknown := asked - {measure.name for measure in found}:
        raise KeyError(f"no measure of stories is called {', '.join(sorted(unknown))}")
    return found
