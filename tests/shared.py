"""Data that is never part of the repository: public vectors, captures, head models.

HEADMVS_SHARED names the folder; without it, a folder ``shared`` beside the repository is taken.
"""

import os
from pathlib import Path

SHARED = Path(os.environ.get("HEADMVS_SHARED") or Path(__file__).parents[2] / "shared")
HEADS = SHARED / "data" / "heads"
ICT = SHARED / "data" / "ict" / "ict_facekit.npz"
