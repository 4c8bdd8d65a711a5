"""What strangers say, made fit to be shown: names and messages are not ours."""

import re

# Control characters (escape sequences among them), halves of surrogate pairs and
# non-characters: no terminal, XML or HTML file is to get them.
_UNFIT = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Return `text` with each unfit character replaced by a replacement character."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
