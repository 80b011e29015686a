"""Captions by an endpoint's Batch API: the frames of all episodes in as few batches as possible, at half the price."""

from collections.abc import Iterator, Sequence

from story_model.asking.batches import Batches, Question
from story_model.asking.endpoint import Endpoint
from storystream_builder.captioning.captions import (
    CaptionedEpisode,
    CaptionQuestions,
    Price,
    answered,
    captioned,
    failed,
    spoken_over,
)
from storystream_builder.frames import Episode, Frame

_DISCOUNT = 0.5


class BatchCaptioner:
    """Asks what `EndpointCaptioner` asks, and shares its ledgers, by batches."""

    def __init__(self, endpoint: Endpoint, batches: Batches, *, max_tokens: int, price: Price = (0.0, 0.0)) -> None:
        """Take the endpoint, its batches, the longest answer in tokens, and the price of questions asked singly."""
        self.name = endpoint.model
        self.questions = CaptionQuestions(max_tokens)
        self.prompt_sha256 = self.questions.prompt_sha256
        self._endpoint = endpoint
        self._batches = batches
        self._price = (price[0] * _DISCOUNT, price[1] * _DISCOUNT)

    def caption(self, episodes: Sequence[Episode]) -> Iterator[CaptionedEpisode]:
        """Caption the kept frames of episodes, when all batches have ended.

        Raises:
            ValueError: the endpoint cannot be used, or not now; what it said so far is kept, and batches that are
                under way are found again.
        """
        keys: dict[str, str] = {}
        refused = self._batches.answer_all(lambda: self._asked(episodes, keys))
        for episode in episodes:
            frames = [self._one(frame, keys[frame.frame_id], refused) for frame in episode.kept]
            yield captioned(episode, frames, price=self._price)

    def _asked(self, episodes: Sequence[Episode], keys: dict[str, str]) -> Iterator[Question]:
        """Ask about every frame, noting its question's key."""
        for episode in episodes:
            images = episode.images() if episode.kept else {}
            for frame in episode.kept:
                messages = self.questions.messages(images[frame.frame_id], spoken_over(frame, episode))
                keys[frame.frame_id] = self._endpoint.key(messages, self.questions.options)
                yield Question(episode.episode_id, messages, self.questions.options)

    def _one(self, frame: Frame, key: str, refused: dict[str, str]) -> Frame:
        answer = self._endpoint.ledger(frame.episode_id).get(key)
        return failed(frame, refused[key]) if answer is None else answered(frame, answer)
