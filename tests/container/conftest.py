import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "live"))
import harness  # noqa: E402,F401  before tmp_path is made: its place is /var/tmp, a disk
