"""URLs as they may be shown: without what is secret in them."""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"(?<=://)([^/?#:@]*):[^/?#]*@")
_SECRET_PARAMETER = re.compile(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&#]*")


def shown_url(url: str) -> str:
    """Return `url` with its password, and parameters that sound like one, replaced by ***."""
    return _SECRET_PARAMETER.sub(r"\1***", _USER_INFO.sub(r"\1:***@", url))
