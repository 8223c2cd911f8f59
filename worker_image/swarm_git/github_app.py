"""Gets a token from GitHub as a GitHub App. The token is valid for an hour, and for one installation."""

import base64
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from swarm_git.errors import Place, credentials_rejected, unreachable

API = "https://api.github.com"
SECONDS = 30.0
"""How long GitHub may take to answer."""
VALID_SECONDS = 540
"""How long the signed request is valid. GitHub accepts at most 600."""
EARLY_SECONDS = 60
"""How much the clock of this machine may be ahead of GitHub's."""
MOST_BYTES = 1 << 20


def installation_token(
    place: Place, app: str, installation: str, *, key: Path, base: str | None = None, ca_file: Path | None = None
) -> str:
    """Returns a token of an installation of a GitHub App.

    Args:
        app: id of the App.
        installation: id of the installation.
        key: file with the App's private key.
        base: URL of the API, for a GitHub of your own; None for github.com.

    Raises GitError.
    """
    url = (base or API).rstrip("/")
    if not url.startswith("https://"):
        raise credentials_rejected(place, f"githubAppBaseURL of {place.held} must begin with https://")
    if not (installation.isascii() and installation.isdigit()):
        raise credentials_rejected(place, f"githubAppInstallationID of {place.held} must be a number")
    request = urllib.request.Request(
        f"{url}/app/installations/{installation}/access_tokens",
        data=b"",
        headers={"Authorization": f"Bearer {_signed(place, app, key)}", "Accept": "application/vnd.github+json"},
        method="POST",
    )
    token = _answer(place, request, ca_file).get("token")
    if not isinstance(token, str) or not token:
        raise unreachable(place, f"{url} answers without a token for the GitHub App")
    return token


def _signed(place: Place, app: str, key: Path) -> str:
    """Returns the JSON Web Token with which the App says who it is."""
    now = int(time.time())
    parts = {"alg": "RS256", "typ": "JWT"}, {"iat": now - EARLY_SECONDS, "exp": now + VALID_SECONDS, "iss": app}
    message = ".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    made = subprocess.run(
        ("openssl", "dgst", "-sha256", "-sign", str(key), "-passin", "pass:"),
        input=message.encode(),
        capture_output=True,
        timeout=SECONDS,
        check=False,
        start_new_session=True,
    )
    if made.returncode:
        raise credentials_rejected(
            place,
            f"githubAppPrivateKey of {place.held} is no private RSA key in PEM without a passphrase. Put the whole "
            "file that GitHub has made into it",
        )
    return f"{message}.{_encoded(made.stdout)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The signed request must not follow a redirect to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _answer(place: Place, request: urllib.request.Request, ca_file: Path | None) -> dict[str, Any]:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect())
        with opener.open(request, timeout=SECONDS) as answer:
            found = json.loads(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            code = error.code
        if code == 429 or code >= 500:
            raise unreachable(
                place, f"{request.host} answers {code} to the GitHub App. Another attempt follows"
            ) from None
        advice = {
            401: "githubAppID and githubAppPrivateKey do not belong together",
            404: "githubAppInstallationID is not an installation of this App",
            403: "the App's installation is suspended, or the App may not use it",
        }.get(code, "check githubAppID, githubAppInstallationID and githubAppBaseURL")
        raise credentials_rejected(
            place, f"{request.host} answers {code} to the GitHub App of {place.held}: {advice}"
        ) from None
    except ssl.SSLError as error:
        raise credentials_rejected(place, f"ca.crt of {place.held} cannot be used: {error.reason}") from None
    except (OSError, ValueError) as error:
        told = getattr(error, "reason", error)
        raise unreachable(
            place, f"{request.host} gives no token to the GitHub App: {told}. Another attempt follows"
        ) from None
    return found if isinstance(found, dict) else {}
