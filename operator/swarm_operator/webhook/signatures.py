"""Finds out whether a webhook comes from somebody who has the key (pure).

GitHub and Gitea sign the body with HMAC-SHA256. GitLab sends the key itself. Sources:
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
https://docs.gitea.com/usage/webhooks, https://docs.gitlab.com/user/project/integrations/webhooks/.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

SIGNATURES: Final = ("X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature")
"""Headers with the signature in hex, which may follow the prefix `sha256=`."""
TOKEN: Final = "X-Gitlab-Token"
LEAST_KEY: Final = 16
"""Least number of bytes of a key."""


def is_genuine(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes]) -> bool:
    """Whether the sender has one of the keys. The time that this takes tells nothing about a key.

    Args:
        headers: finds a header by its name in any case.
    """
    given = [_bytes(headers[name].removeprefix("sha256=").lower()) for name in SIGNATURES if name in headers]
    token = _bytes(headers[TOKEN]) if TOKEN in headers else None
    found = False
    for key in keys:
        wanted = hmac.new(key, body, hashlib.sha256).hexdigest().encode()
        found |= any(hmac.compare_digest(wanted, each) for each in given)
        found |= token is not None and hmac.compare_digest(key, token)
    return found


def has_signature(headers: Mapping[str, str]) -> bool:
    """Whether a webhook has a signature or a token at all. Without one, nobody needs to read its body."""
    return any(name in headers for name in (*SIGNATURES, TOKEN))


def _bytes(header: str) -> bytes:
    """Returns the bytes that a client has sent, which need not be UTF-8."""
    return header.encode("utf-8", "surrogateescape")
