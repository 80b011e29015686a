"""Stories of the drawn series as a judge is shown them, and judgements made by hand."""

from fabricated_run import encoded, paint, scene, text_of

from evaluation.judging.questions import Judgement
from evaluation.judging.spoiled import ShownStory
from evaluation.pictures import Pair, measured


def drawn_story(episode, *, pairs=6):
    """An episode's first pairs; every text names who and what its picture shows."""
    shown = []
    for number in range(pairs):
        who, where = scene(episode, number)
        source = encoded(paint(who, where, number + episode, (160, 90)), "PNG")
        shown.append(Pair(number, text_of(who, where), source, measured(source)))
    return ShownStory(f"e{episode}/0", tuple(shown))


def scored(score, story="a", *, dimension="style", system="s", judge="j", **more):
    """A judgement with a score; None: the judge refused."""
    status = "refused" if score is None else "ok"
    return Judgement(
        judge=judge,
        story_id=story,
        dimension=dimension,
        systems=(system,),
        score=score,
        **{"purpose": "score", "status": status} | more,
    )


def chosen(choice, first, second, story="a", *, dimension="style", judge="j", **more):
    """A judgement of a pair; None: no answer came."""
    status = "error" if choice is None else "ok"
    return Judgement(
        judge=judge,
        purpose="pair",
        story_id=story,
        dimension=dimension,
        systems=(first, second),
        choice=choice,
        status=status,
        **more,
    )
