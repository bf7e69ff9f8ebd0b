"""Removal of credentials from messages and logs."""

from __future__ import annotations

import re

_USER = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#'\"]*@")
_PARAMETER = re.compile(
    r"([?&;](?:[\w.-]*(?:signature|credential|token|secret|password|accesskey(?:id)?|access_key(?:_id)?)|sig)=)[^\s&;'\"]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Return `text` without the users and passwords in its URLs, and without signatures and tokens in their queries.

    Examples
    --------
    >>> redacted("can't read http://me:secret@host/store?X-Amz-Signature=0a1b&list")
    "can't read http://***@host/store?X-Amz-Signature=***&list"
    """
    return _PARAMETER.sub(r"\1***", _USER.sub(r"\1***@", text))
