"""Credentials of the standard AWS profiles; obstore itself reads only the environment.

If the environment has keys, the keys of the profile are not used. If the environment lacks the region or the endpoint, the
profile provides it. Credentials are kept only in the client that accesses the bucket.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

from spikestore.store.machine import expand_home
from spikestore.store_schemas.errors import UsageError

_OPTIONS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
_OF_ENVIRONMENT = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
}
_OTHER_WAYS = ("sso_session", "sso_start_url", "role_arn", "credential_process", "web_identity_token_file")
_GIVEN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SKIP_SIGNATURE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def profile_options(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the settings in ``~/.aws/credentials`` and ``~/.aws/config``, as options of obstore's S3 store.

    The profile is ``$AWS_PROFILE``, else ``default``. ``$AWS_SHARED_CREDENTIALS_FILE`` and ``$AWS_CONFIG_FILE`` can name
    other files. If the environment has keys (for example from ``aws configure export-credentials``),
    only region and endpoint come from the profile, as with the AWS tools.

    Raises
    ------
    UsageError
        The profile in ``$AWS_PROFILE`` does not exist; or the profile has no keys and needs the AWS tools to get keys
        (SSO, a role, ``credential_process``); or a file cannot be read.
    """
    given = os.environ if environment is None else environment
    if any(given.get(name) for name in _GIVEN):
        try:
            settings = _settings(given)
        except UsageError:
            settings = {}  # the keys are enough for most buckets
        return _options(settings, given, ("region", "endpoint"))
    profile = given.get("AWS_PROFILE")
    name = profile or "default"
    settings = _settings(given)
    if profile and not settings:
        raise UsageError(
            f"no AWS profile {profile!r}: see $AWS_PROFILE, ~/.aws/config and ~/.aws/credentials"
        )
    other = [way for way in _OTHER_WAYS if way in settings]
    if other and "aws_access_key_id" not in settings:
        raise UsageError(
            f"the AWS profile {name!r} gets its keys by {other[0]}, which needs the AWS tools: export the keys first, "
            f"with eval $(aws configure export-credentials --profile {name} --format env)"
        )
    return _options(settings, given, tuple(_OPTIONS.values()))


def _settings(given: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the AWS profile from the files of credentials and configuration. `given` has the environment variables."""
    name = given.get("AWS_PROFILE") or "default"
    settings: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", name),
    ):
        named = given.get(variable)
        try:
            path = expand_home(named or f"~/.aws/{file}")
        except UsageError:
            if named:
                raise
            continue  # without a home folder there are no profiles
        settings |= _section(path, section)
    return settings


def _options(settings: dict[str, str], given: Mapping[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    """Return the settings as options of obstore; only options in `wanted` that no environment variable in `given` sets."""
    return {
        option: settings[name]
        for name, option in _OPTIONS.items()
        if name in settings
        and option in wanted
        and not any(given.get(variable) for variable in _OF_ENVIRONMENT.get(option, ()))
    }


def _section(path: Path, name: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, default_section="", strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error):
        # The messages of these errors quote lines, which may hold keys.
        raise UsageError(
            f"{path} cannot be read as an AWS configuration: check its permissions and its syntax",
            path=str(path),
        ) from None
    return dict(parser[name]) if parser.has_section(name) else {}
