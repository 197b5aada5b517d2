"""Provider keys from the environment, for those who have no configuration file.

`OPENAI_API_KEY`, `OPENAI_API_KEY_1`, `OPENAI_API_KEY_2`, ... and a list (with
commas, or of JSON) in `OPENAI_API_KEYS`; where they are used in `OPENAI_BASE_URL`;
the same for every provider of the catalogue, and by the names that some providers give
their keys themselves. The real environment wins over `.env`. Nothing here writes to
`os.environ`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.config.model import KeyConfig, ProviderConfig
from apikeyrouter.infrastructure.config.pasted import split_list, trimmed

#: What providers' own documents call their keys besides.
_FURTHER_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "azure": ("AZURE_OPENAI",),
    "cohere": ("CO",),
    "gemini": ("GOOGLE",),
    "qwen": ("DASHSCOPE",),
    "vercel": ("AI_GATEWAY",),
}


def variables_of(provider: str) -> tuple[str, ...]:
    """Return the names of the variables that hold a key of *provider*, the usual one first."""
    prefixes = (_prefix_of(provider), *_FURTHER_PREFIXES.get(provider, ()))
    return tuple(f"{prefix}_API_KEY" for prefix in prefixes)


def keys_from_environment(
    env: Mapping[str, str], catalogue_names: Iterable[str]
) -> list[KeyConfig]:
    """Return every provider key that *env* holds, each once.

    Providers come in the order of *catalogue_names*; of one provider first the
    bare variable, then the numbered ones by number, then the list.

    Raises:
        ConfigurationError: A value cannot be a key; the message names the variable.
    """
    keys: dict[tuple[str, str], KeyConfig] = {}
    for provider in catalogue_names:
        for bare in variables_of(provider):
            for variable, secret in _secrets_of(bare, env):
                if (provider, secret) not in keys:
                    keys[provider, secret] = _key(provider, variable, secret)
    return list(keys.values())


def providers_from_environment(
    env: Mapping[str, str], catalogue_names: Iterable[str]
) -> dict[str, ProviderConfig]:
    """Return the providers that `OPENAI_BASE_URL` and its like place elsewhere.

    Of what is served at an address of one's own nothing is known, so any model is asked for there.

    Raises:
        ConfigurationError: A value is no address; the message names the variable.
    """
    found = {}
    for provider in catalogue_names:
        variable = base_url_variable(provider)
        if url := trimmed(env.get(variable, "")):
            try:
                found[provider] = ProviderConfig(base_url=url, models=["*"])
            except ValidationError as error:
                raise ConfigurationError(f"{variable}: {_reason_of(error)}") from None
    return found


def base_url_variable(provider: str) -> str:
    """Return the name of the variable that says where *provider* is."""
    return f"{_prefix_of(provider)}_BASE_URL"


def read_dotenv(path: str | Path) -> dict[str, str]:
    """Return the variables of a `.env` file as written; no file is an empty one.

    Quotes, comments and `export` are understood; `${NAME}` stays as it is.

    Raises:
        ConfigurationError: The file is there and cannot be read.
    """
    if not Path(path).is_file():
        return {}
    try:
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: should be UTF-8 text") from None
    return {name: value for name, value in values.items() if value is not None}


def merge_dotenv(env: Mapping[str, str], path: str | Path = ".env") -> dict[str, str]:
    """Return *env* with what the `.env` file adds to it."""
    return {**read_dotenv(path), **env}


def _secrets_of(bare: str, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield variable and secret of *bare* and its kin, blank ones left out."""
    numbered = re.compile(rf"{re.escape(bare)}_([0-9]{{1,9}})")
    matches = [match for match in map(numbered.fullmatch, env) if match]
    ordered = sorted(matches, key=lambda match: (int(match[1]), match[0]))
    for variable in [bare, *(match[0] for match in ordered)]:
        if secret := trimmed(env.get(variable, "")):
            if "," in secret:
                raise ConfigurationError(f"{variable}: holds a list: put it into {bare}S")
            if "${" in secret:
                raise ConfigurationError(
                    f"{variable}: holds a ${{NAME}}, which is not filled in here"
                )
            yield variable, secret
    plural = f"{bare}S"
    try:
        secrets = split_list(env.get(plural, ""))
    except ValueError as error:
        raise ConfigurationError(f"{plural}: {error}") from None
    for secret in secrets:
        yield plural, secret


def _prefix_of(provider: str) -> str:
    return re.sub("[^A-Za-z0-9]", "_", provider).upper()


def _key(provider: str, variable: str, secret: str) -> KeyConfig:
    try:
        return KeyConfig(provider=provider, secret=SecretStr(secret))
    except ValidationError as error:
        raise ConfigurationError(f"{variable}: {_reason_of(error)}") from None


def _reason_of(error: ValidationError) -> str:
    return error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
