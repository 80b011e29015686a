"""What a video itself says: its subtitle streams or, recognised by a network, its sound; in a process of its own.

`python -m storystream_builder.listening.listen VIDEO FOLDER JOB` is what `spoken.py` starts. Result: `transcript.json`
in FOLDER.
"""

import sys
from pathlib import Path

from story_model.config import Settings
from storystream_builder.children import end_with_parent, limit_memory
from storystream_builder.listening.embedded_subtitles import read_embedded
from storystream_builder.listening.speech import load_recognizer
from storystream_builder.listening.transcripts import Transcript, write_transcript
from storystream_builder.records import TRANSCRIPT, ListenJob


def listen(video: Path, job: ListenJob) -> Transcript:
    """Take the lines of the first source that has some; notes of those before it are kept.

    Raises:
        ValueError: speech is to be recognised and its network cannot be used.
    """
    notes: tuple[str, ...] = ()
    for source in job.key.sources:
        if source == "embedded":
            found = read_embedded(video, language=job.key.language) or Transcript()
        elif source == "speech":
            network = Path(job.speech_folder) if job.speech_folder else None
            found = load_recognizer(network, device=_device()).transcribe(video, language=job.key.language)
        else:
            continue
        notes += found.notes
        if found.lines:
            return Transcript(found.lines, notes, found.source, found.language)
    return Transcript(notes=notes)


def _device() -> str:
    from story_model.device import chosen_device

    return str(chosen_device(Settings().device))


def main() -> None:
    """Run the job that the command line describes."""
    video, out_dir, text = sys.argv[1:4]
    job = ListenJob.model_validate_json(text)
    end_with_parent()
    if job.max_memory_gb is not None:
        limit_memory(job.max_memory_gb)
    write_transcript(Path(out_dir) / TRANSCRIPT, listen(Path(video), job))


if __name__ == "__main__":
    main()
