"""Who is in an episode, so that a character has one name in all its stories: given, called in the lines, or asked for.

A name is taken only from the configuration or from what is spoken. Whoever has none stays a description.
"""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from story_model.asking.endpoint import QuestionRefused
from story_model.asking.structured import Structured, read
from story_model.build_config import CastConfig
from storystream_builder.captioning.captions import PROMPTS_DIR
from storystream_builder.frames import Episode
from storystream_builder.listening.transcripts import short_code
from storystream_builder.narrating.called_names import called_names
from storystream_builder.narrating.languages import DEFAULT, spoken_language
from storystream_builder.narrating.names import (
    NOT_NAMES,
    TITLES,
    has_telling_capitals,
    key,
    lexicon_of,
    names_in,
    small_words,
    words_in,
)

_MAX_MEMBERS = 40
_MAX_CHARACTERS = 60_000
_MIN_LOOK_WORDS = 3
_PLAIN = frozenset(
    {"a", "an", "the", "and", "or", "with", "who", "whose", "that", "in", "on", "of", "at", "to", "his", "her", "its"}
    | {"their", "is", "are", "wearing"}
)
_NAMED = re.compile(r"\b(?:[Aa]n?|[Tt]he) ([a-z][a-z -]{4,60}?),? (?:named|called) ([A-Z][\w'-]*\w)")
_APPOSED = re.compile(r"\b([A-Z][\w'-]*\w), (?:an?|the) ([a-z][a-z -]{4,60}?)(?=[,.;]|$)")
_SCHEMA = {
    "type": "object",
    "properties": {
        "cast": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "look": {"type": "string"}},
                "required": ["name", "look"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["cast"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Member:
    """Somebody in an episode."""

    name: str
    """Empty for whom no name is known."""
    look: str
    """How to recognise them; empty where that is not known."""
    source: Literal["given", "lines", "endpoint"]


@dataclass(frozen=True)
class Cast:
    """An episode's members, which names stand for others of them, and what was paid to know."""

    members: tuple[Member, ...] = ()
    other_names: Mapping[str, str] = field(default_factory=dict)
    """A name that a caption gives somebody, and the one to use."""
    failure: str = ""
    """Why the endpoint gave none; empty otherwise."""
    notes: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def names(self) -> list[str]:
        """The names, those given first."""
        return [member.name for member in self.members if member.name]

    def for_prompt(self) -> dict[str, Any]:
        """Give what whoever tells a story has to know; nothing where nobody is known."""
        members = [
            {label: text for label, text in (("name", one.name), ("look", one.look)) if text} for one in self.members
        ]
        told: dict[str, Any] = {"cast": members} if members else {}
        return told | ({"call": dict(self.other_names)} if self.other_names else {})


@dataclass(frozen=True)
class EpisodeText:
    """All that is said of an episode and in it."""

    episode_id: str
    captions: tuple[str, ...]
    lines: tuple[str, ...]
    language: str
    """Of its stories."""
    spoken: str | None = None
    """The lines' language, where that is known."""


def text_of(episode: Episode, language: str | None) -> EpisodeText:
    """Gather an episode's text; its stories' language is the one asked for, else that of its lines, else English."""
    transcript = episode.outcome.transcript
    captions = tuple(frame.caption for frame in episode.kept if frame.caption)
    lines = tuple(line.text for line in transcript.lines)
    spoken = spoken_language(transcript)
    return EpisodeText(episode.episode_id, captions, lines, short_code(language) or spoken or DEFAULT, spoken)


class Casting:
    """Finds out who is in an episode."""

    def __init__(
        self, config: CastConfig, asked: Structured | None = None, *, max_tokens: int = 4000, attempts: int = 1
    ) -> None:
        """Take the configuration and, where it wants one asked, the endpoint."""
        assert config.derive != "endpoint" or asked is not None, "the endpoint's cast needs an endpoint"
        self._config = config
        self._asked = asked if config.derive == "endpoint" else None
        self._max_tokens = max_tokens
        self._attempts = attempts
        self._prompt = (PROMPTS_DIR / "cast.txt").read_text() if self._asked else ""
        self.prompt_sha256 = hashlib.sha256(self._prompt.encode()).hexdigest() if self._asked else ""

    def of(self, text: EpisodeText) -> Cast:
        """Find an episode's cast.

        Raises:
            ValueError: the endpoint cannot be used; what it said so far is kept.
        """
        given = [Member(name, look, "given") for name, look in self._config.given.items()]
        cast = Cast(tuple(given))
        if self._config.derive == "lines":
            language = text.spoken or text.language
            found = called_names(text.lines, language)[:_MAX_MEMBERS]
            notes = () if has_telling_capitals(language) else (f"capitals tell no names in {language}",)
            cast = replace(cast, members=_joined(given, [Member(one, "", "lines") for one in found]), notes=notes)
        elif self._asked:
            cast = self._asked_for(self._asked, text, given)
        return replace(cast, other_names=names_to_replace(text, cast.members))

    def _asked_for(self, asked: Structured, text: EpisodeText, given: list[Member]) -> Cast:
        content, notes = _question(text, given)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": self._prompt},
            {"role": "user", "content": content},
        ]
        cast, reasons = Cast(tuple(given), notes=notes), []
        for _ in range(self._attempts):
            try:
                answer = asked.ask(text.episode_id, messages, schema=_SCHEMA, max_tokens=self._max_tokens)
            except QuestionRefused as error:
                reasons.append(f"refused: {error}")
                break
            cast = replace(
                cast,
                prompt_tokens=cast.prompt_tokens + answer.prompt_tokens,
                completion_tokens=cast.completion_tokens + answer.completion_tokens,
            )
            try:
                found = read(answer, _Listed).cast
            except ValueError as error:
                reasons.append(str(error))
                messages += [
                    {"role": "assistant", "content": answer.text},
                    {"role": "user", "content": f"This cannot be used: {error}. Write the whole answer again."},
                ]
                continue
            return replace(cast, members=_joined(given, _accepted(found, text, given)))
        return replace(cast, failure="; ".join(reasons))


class _Found(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    look: str


class _Listed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cast: list[_Found]


def names_to_replace(text: EpisodeText, members: Iterable[Member]) -> dict[str, str]:
    """Find names that English captions give to a look that has another name: (that name -> the one to use).

    A look counts as one where it is told in the same words, three at least. The name to use is that of the cast, else
    the one that captions use most. Two of the cast are two, whatever they look like.
    """
    named = [member for member in members if member.name]
    known = {key(member.name) for member in named}
    called = {key(one) for one in lexicon_of(text.lines).capitals}
    by_look: dict[frozenset[str], Counter[str]] = defaultdict(Counter)
    for caption in text.captions:
        found = [(name, look) for look, name in _NAMED.findall(caption)] + _APPOSED.findall(caption)
        for name, look in found:
            if len(words := _look(look)) >= _MIN_LOOK_WORDS:
                by_look[words][name] += 1
    replaced: dict[str, str] = {}
    for look, names in sorted(by_look.items(), key=lambda item: sorted(item[0])):
        rights = {member.name for member in named if _look(member.look) == look or member.name in names}
        if not rights and not any(key(name) in called for name in names):
            rights = {min(names, key=lambda name: (-names[name], name))}
        if len(rights) == 1:
            right = rights.pop()
            wrong = [name for name in names if name != right and key(name) not in known | called]
            replaced |= {name: right for name in sorted(wrong) if name not in right.split()}
    return replaced


def _question(text: EpisodeText, given: Sequence[Member]) -> tuple[str, tuple[str, ...]]:
    """Write what the endpoint is to read, as far as it goes; and a note of what was left out."""
    kept: dict[str, list[str]] = {"descriptions": [], "lines": []}
    left = 0
    for label, texts in (("descriptions", text.captions), ("lines", text.lines)):
        room = _MAX_CHARACTERS // 2
        for one in texts:
            room -= len(one)
            if room >= 0:
                kept[label].append(one)
        left += len(texts) - len(kept[label])
    known = [{"name": member.name, "look": member.look} for member in given]
    notes = (f"{left} captions and lines were too many to ask for the cast with",) if left else ()
    return json.dumps({**kept, "known": known}, ensure_ascii=False, indent=1), notes


def _accepted(found: Sequence[_Found], text: EpisodeText, given: Sequence[Member]) -> list[Member]:
    """Take the names that are spoken or given; who has another becomes a description."""
    spoken = " ".join(text.lines)
    inside = {key(part) for line in text.lines for name in names_in(line) for part in {name, *name.split("-")}}
    capitals = {key(one) for one in lexicon_of(text.lines).capitals}
    called = inside | (capitals - small_words(text.lines))
    known = {key(member.name) for member in given}
    members = []
    for one in found[:_MAX_MEMBERS]:
        name, look = " ".join(one.name.split()), " ".join(one.look.split())
        if not (key(name) in known or _is_spoken(name, spoken, called)):
            name = ""
        if name or look:
            members.append(Member(name, look, "endpoint"))
    return members


def _is_spoken(name: str, spoken: str, called: Set[str]) -> bool:
    """Whether lines call somebody so: all of its capitalised words, titles aside; or as it is in scripts without."""
    if not any(c.isalpha() for c in name):
        return False
    if name.upper() == name.lower():
        return name in spoken
    words = [key(word.text) for word in words_in(name) if word.text[0].isupper()]
    telling = [word for word in words if word not in TITLES | NOT_NAMES]
    return bool(telling) and all(word in called for word in telling)


def _joined(given: Sequence[Member], found: Sequence[Member]) -> tuple[Member, ...]:
    """Put members together, each name once; who is given without a look takes the one that was found."""
    members = {key(member.name): member for member in given}
    parts = {key(part): whole for whole, member in members.items() for part in member.name.split()}
    nameless = []
    for one in found:
        if not one.name:
            nameless.append(one)
            continue
        whole = parts.get(key(one.name), key(one.name))
        first = members.setdefault(whole, one)
        if not first.look and one.look:
            members[whole] = replace(first, look=one.look)
    looks = {_look(member.look) for member in members.values()}
    return (*members.values(), *(one for one in nameless if _look(one.look) not in looks))


def _look(look: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", look.casefold())) - _PLAIN
