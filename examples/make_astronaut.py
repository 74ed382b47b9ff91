"""Write examples/astronaut.mp4: four seconds of slow pan and zoom over a public-domain portrait (NASA, Eileen Collins).

Usage: `python examples/make_astronaut.py [OUT.mp4]`. The picture comes with scikit-image, so nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.data import astronaut

WIDTH, HEIGHT, FPS, SECONDS = 480, 360, 25, 4
# Without the last option, the output of x264 is not reproducible.
ENCODER = {"crf": "26", "preset": "slow", "threads": "1", "x264-params": "cpu-independent=1"}


def view(picture: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """The camera view at a fraction (0 to 1) of the video: a slow pan around the face, zooming in."""
    zoom = 1.1 + 0.4 * (1 - np.cos(np.pi * share)) / 2
    centre_x = 242 + 22 * np.sin(2 * np.pi * share)
    centre_y = HEIGHT / 2 / zoom + 3 + 3 * np.sin(np.pi * share)  # the picture's top edge stays out of view
    matrix = np.array([[zoom, 0, WIDTH / 2 - zoom * centre_x], [0, zoom, HEIGHT / 2 - zoom * centre_y]])
    warped = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, dtype=np.uint8)


def main() -> None:
    """Write the video."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("astronaut.mp4")
    picture = astronaut()
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FPS * SECONDS):
            frame = av.VideoFrame.from_ndarray(view(picture, index / (FPS * SECONDS - 1)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
