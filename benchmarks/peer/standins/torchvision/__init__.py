"""Replaces torchvision if no build of it fits the installed torch; contains only the two names the reference needs.

`torchvision.io.read_video` (marlin-pytorch, videos of up to 32 frames) and
`torchvision.models._utils.IntermediateLayerGetter` (face-alignment's RetinaFace). Written for this benchmark.
"""

from . import io as io
from .models import _utils as _utils

__version__ = "stand-in"
