"""Draw the series: `python -m storystream_builder.cartoon OUT_DIR`."""

import argparse
from pathlib import Path

from story_model.build_config import CartoonConfig
from storystream_builder.cartoon.film import draw_series


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(prog="python -m storystream_builder.cartoon", description=__doc__)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw (default: 2)")
    for name, default in CartoonConfig().model_dump().items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), default=default, help=f"(default: {default})")
    args = vars(parser.parse_args())
    out_dir, workers = args.pop("out_dir"), args.pop("workers")
    series = draw_series(out_dir, config=CartoonConfig(**args), workers=workers)
    print(f"{len(series.videos)} episodes in {out_dir}: {series.num_drawn} drawn, {series.num_kept} found finished")


if __name__ == "__main__":
    main()
