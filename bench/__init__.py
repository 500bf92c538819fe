"""What Stillmotion can do on this machine, measured: ``python -m bench [NAME ...]`` writes ``bench/RESULTS.md``.

The durability tests' server process, HTTP client and killer are the benchmarks' too.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DURABILITY = ROOT / "tests/durability"
sys.path.insert(0, str(DURABILITY))
