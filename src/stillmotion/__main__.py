"""``python -m stillmotion``."""

from stillmotion.cli import app

app(prog_name="stillmotion")
