"""Create a dump on a Ray cluster: `python examples/ray_dump.py VIDEOS DUMP [--address HOST:6379]`.

VIDEOS is a folder, a pattern or a CSV table with a column `path`, accessible from every node; DUMP is the output
folder, accessible from this machine. Run the same command again to process what is missing or failed. Without
--address, Ray is started on this machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import ray

from marlin_sdk import ExtractionConfig, load_dump
from marlin_sdk.batch.ray import embed
from marlin_sdk.batch.recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> None:
    """Create the dump, and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", help="folder, pattern, or CSV table with a column path")
    parser.add_argument("dump", help="folder of the features")
    parser.add_argument("--model", default="marlin_vit_base_ytf")
    parser.add_argument("--detector", default="yunet")
    parser.add_argument("--address", help="of a running cluster")
    parser.add_argument("--actors", type=int, help="by default one for each GPU, or for every 4 cores")
    options = parser.parse_args(arguments)

    settings = ExtractionConfig(batch_size=32)
    recipe = Recipe(model=options.model, detector=options.detector, settings=settings)
    if options.address:
        ray.init(options.address, log_to_driver=False)
    else:  # a cluster of this machine alone, not reachable from outside
        ray.init("local", _node_ip_address="127.0.0.1", include_dashboard=False, log_to_driver=False)
    videos = ray.data.read_csv(options.videos) if options.videos.endswith(".csv") else options.videos
    summary = embed(videos, options.dump, recipe=recipe, actors=options.actors)
    print(summary)

    dump = load_dump(options.dump)
    print(f"{len(dump)} videos with features in {options.dump}")


if __name__ == "__main__":
    main()
