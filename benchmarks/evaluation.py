"""How long an evaluation takes, the model and the judge apart: 180 stories of 5 pictures, as published ones are judged.

A run's folder is made by hand (drawn pictures, no network is trained); what is measured is the whole evaluation step:
reading, every measure, every distance with 1,000 draws, tables, page, MLflow. The last line is JSON.

    python -m benchmarks.evaluation [--stories 180] [--segments 5] [--policies multimodal_sink window]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT_DIR), str(PROJECT_DIR / "tests" / "evaluation")]

from fabricated_run import fabricate

from evaluation.report import evaluate


def main() -> None:
    """Make a run, evaluate it, print what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories", type=int, default=180)
    parser.add_argument("--segments", type=int, default=5)
    parser.add_argument("--policies", nargs="+", default=["multimodal_sink"])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    overrides = (
        f"tell.policies=[{','.join(args.policies)}]",
        "tell.modes=[captions_given]",
        f"tell.stories={args.stories}",
        "evaluate.bootstrap=1000",
        "evaluate.distances.resamples=1000",
        "evaluate.probe_steps=300",
        f"train.threads={args.threads}",
    )
    with tempfile.TemporaryDirectory() as folder:
        made = fabricate(Path(folder) / "demo", overrides=overrides, stories=args.stories, segments=args.segments)
        began = time.perf_counter()
        manifest = evaluate(made.run, made.config, made.settings)
        seconds = time.perf_counter() - began
        page_mb = made.run.report_path.stat().st_size / 1e6
    counts = manifest.counts
    result = {
        "seconds": round(seconds, 1),
        "stories": args.stories,
        "segments": args.segments,
        "systems": counts["systems"],
        "pictures": counts["pictures"],
        "peak_memory_mb": manifest.peak_memory_mb,
        "page_mb": round(page_mb, 2),
    }
    print(f"{counts['systems']} systems of {args.stories} stories x {args.segments} pictures: {seconds:.1f} s")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
