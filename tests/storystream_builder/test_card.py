"""The dataset's card: where frames went with pictures of them, whose work it is, and no markup from outside."""

import io
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image
from test_duplicates import episode

from story_model.build_config import BuildConfig, CaptionsConfig, NarrativesConfig
from story_model.price_config import PriceConfig
from storystream_builder.assemble import Assembly
from storystream_builder.card import card
from storystream_builder.examples import write_examples
from storystream_builder.sources import Source
from storystream_builder.stories import Split


@pytest.fixture
def text(built) -> str:
    return (built.dataset_dir / "README.md").read_text()


def made_of(*sources: Source, counts: dict[str, int] | None = None) -> Assembly:
    episodes = [episode(f"e{number}", []) for number in range(len(sources))]
    told = [
        replace(one, outcome=replace(one.outcome, source=source)) for one, source in zip(episodes, sources, strict=True)
    ]
    return Assembly(told, Split(()), {}, [], Counter(counts or {}))


def written(assembly: Assembly, **config) -> str:
    return card(assembly, config=BuildConfig(**config), caption_model="a", story_model="b", examples={})


def source(**fields) -> Source:
    return replace(episode("e", []).outcome.source, **fields)


def test_each_reason_has_a_picture_that_is_there(built, text):
    names = [line.split("(")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert "examples/no-narration.jpg" in names
    for name in names:
        with Image.open(io.BytesIO((built.dataset_dir / name).read_bytes())) as picture:
            assert picture.height == 90


def test_examples_are_few_however_much_is_dropped(tmp_path, built):
    assert write_examples(tmp_path, []) == {}
    assert not list(tmp_path.iterdir())


def test_sources_are_told_with_licence_and_credit(text):
    assert "| - | CC BY 3.0 | us | - |" in text


def test_several_licences_are_all_named():
    front = written(made_of(source(license="cc-by-4.0"), source(license="mit"))).split("---")[1]
    assert 'license: other\nlicense_name: "cc-by-4.0, mit"' in front


def test_one_known_licence_is_the_card_s():
    assert "license: cc-by-4.0\nconfigs" in written(made_of(source(license="cc-by-4.0")))


def test_names_from_outside_cannot_bring_markup():
    said = written(made_of(source(series="<script>x</script>", attribution="a | b\n# c", url="[y](javascript:z)")))
    assert "<script>" not in said
    assert "[y]" not in said
    assert "a &#124; b # c" in said


def test_the_bill_is_told_where_prices_are_known():
    asked = {"prompt tokens": 2_000_000, "completion tokens": 1_000_000}
    counts = {f"{what} {name}": number for what in ("captions", "stories") for name, number in asked.items()}
    narratives = NarrativesConfig(price=PriceConfig(prompt_usd=2.0, completion_usd=5.0))
    captions = CaptionsConfig(captioner="openai")
    priced = made_of(source(), counts=counts | {"captions micro-dollars": 6_000_000})
    said = written(priced, captions=captions, narratives=narratives)
    assert "| captions | 2,000,000 | 1,000,000 | 6.00 |" in said
    assert "| stories | 2,000,000 | 1,000,000 | 9.00 |" in said
    assert "price unknown" in written(made_of(source(), counts=counts), captions=captions)


def test_a_network_on_this_machine_sends_no_bill():
    counts = {"captions prompt tokens": 2_000_000, "captions completion tokens": 1_000_000}
    assert "US dollars" not in written(made_of(source(), counts=counts), captions=CaptionsConfig(captioner="local"))


def test_without_an_endpoint_there_is_no_bill(text):
    assert "US dollars" not in text
