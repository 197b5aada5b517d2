"""Every mistake in the configuration file names its line, its field and what would be right."""

import pytest

from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.config.file_loader import parse_config

pytestmark = pytest.mark.unit


def mistakes(text: str) -> list[str]:
    """Return the lines of the refusal, without the file's name."""
    with pytest.raises(ConfigurationError) as caught:
        parse_config(text, name="router.yaml", env={}, known_providers=("openai", "groq"))
    return [line.removeprefix("router.yaml:") for line in str(caught.value).splitlines()]


def key(**fields: object) -> str:
    """Return a file with one key of these fields on line 2."""
    entry = {"provider": "openai", "secret": "sk-1", **fields}
    return f"version: 1\nkeys: [{{{', '.join(f'{name}: {entry[name]}' for name in entry)}}}]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: should be a mapping that begins with 'version: 1'"]),
        ("- a", ["1: should be a mapping that begins with 'version: 1'"]),
        ("keys: []", ["1: version: is missing: the file should begin with 'version: 1'"]),
        ("version:\n", ["1: version: is missing: the file should begin with 'version: 1'"]),
        ("version: 2", ["1: version: should be 1; got '2'"]),
        ("version: 1\nkeyz: []", ["2: keyz: unknown name; did you mean 'keys'?"]),
        (
            "version: 1\nversion: 1",
            ["2: version: stands here a second time, first on line 1: keep one"],
        ),
        (
            "version: 1\nserver: {port: true}",
            ["2: server.port: should be a number, not true or false; got 'true'"],
        ),
        (
            "version: 1\nserver: {port: 65536}",
            ["2: server.port: should be 65535 or less; got '65536'"],
        ),
        (
            "version: 1\nserver: 8000",
            ["2: server: should be a mapping, such as {name: value}; got '8000'"],
        ),
        (
            "version: 1\nstore: mysql://h/d",
            [
                "2: store: should be a store address that starts with one of memory://, "
                "sqlite://, postgresql://, mongodb://, redis://"
            ],
        ),
        (
            "version: 1\nledger: elsewhere",
            ["2: ledger: should be local or an address such as redis://host:6379/0"],
        ),
        (
            "version: 1\nrouting:\n  objective: fairnes",
            [
                "3: routing.objective: should be one of cost, reliability, fairness, latency, "
                "quality; did you mean 'fairness'?; got 'fairnes'"
            ],
        ),
        (
            "version: 1\nrouting: {objective: cost, weights: {cost: 1}}",
            ["2: routing: give either an objective or weights, not both"],
        ),
        (
            "version: 1\nrouting: {weights: {cost: -1}}",
            ["2: routing.weights.cost: should be 0 or more; got '-1'"],
        ),
        (
            "version: 1\nserver:\n  trusted_proxies: [10.0.0.5, 10.1.2.3/8]",
            [
                "3: server.trusted_proxies[1]: should be an address or a network such as 10.0.0.5 "
                "or 10.0.0.0/8; did you mean 10.0.0.0/8?; got '10.1.2.3/8'"
            ],
        ),
        (
            "version: 1\nserver: {max_body: big}",
            [
                "2: server.max_body: should be a size such as 32MB, 512KiB or a number of bytes; "
                "got 'big'"
            ],
        ),
        (
            "version: 1\nrouting: {weights: {cost: 0}}",
            ["2: routing.weights: at least one weight should be above 0"],
        ),
        (
            "version: 1\nproviders:\n  opnai: {}",
            [
                "3: providers.opnai: not a provider of the catalogue; did you mean 'openai'?; "
                "any other one needs kind and base_url"
            ],
        ),
        (
            "version: 1\nproviders:\n  lab:\n    kind: openai",
            ["3: providers.lab: not a provider of the catalogue; any other one needs base_url"],
        ),
        (
            "version: 1\nproviders:\n  openai:\n    kind: opnai",
            [
                "4: providers.openai.kind: should be one of 'openai', 'anthropic', 'gemini', "
                "'azure' or 'vertex'; did you mean 'openai'?; got 'opnai'"
            ],
        ),
        (
            "version: 1\nproviders: {openai: {base_url: localhost}}",
            [
                "2: providers.openai.base_url: should be an http:// or https:// address such as "
                "https://host/v1"
            ],
        ),
        (
            "version: 1\nproviders: {openai: {base_url: 'http://h:0/v1'}}",
            [
                "2: providers.openai.base_url: should be an http:// or https:// address such as "
                "https://host/v1"
            ],
        ),
        (
            "version: 1\nproviders:\n  openai:\n    base_url: http://u:pw@h/v1",
            [
                "4: providers.openai.base_url: should be an http:// or https:// address such as "
                "https://host/v1, without credentials: they belong to keys"
            ],
        ),
        (
            "version: 1\nproviders: {openai: {models: []}}",
            ["2: providers.openai.models: should have at least one entry, or be left out"],
        ),
        (key(weight=0), ["2: keys[0].weight: should be above 0; got '0'"]),
        (key(weight="x"), ["2: keys[0].weight: should be a number; got 'x'"]),
        (key(priority=1.5), ["2: keys[0].priority: should be a whole number; got '1.5'"]),
        (key(wieght=1), ["2: keys[0].wieght: unknown name; did you mean 'weight'?"]),
        (
            key(models="gpt-*"),
            ["2: keys[0].models: should be a list, such as [first, second]; got 'gpt-*'"],
        ),
        (key(limits="{rpm: 0}"), ["2: keys[0].limits.rpm: should be above 0; got '0'"]),
        (key(limits="{rpm: -1}"), ["2: keys[0].limits.rpm: should be above 0; got '-1'"]),
        (key(limits="{rpm: x}"), ["2: keys[0].limits.rpm: should be a whole number; got 'x'"]),
        (
            key(limits="{rpn: 1}"),
            [
                "2: keys[0].limits.rpn: unknown limit; known are rpm, rph, rpd, tpm, tph, tpd, "
                "itpm, otpm, concurrency; did you mean 'rpm'?"
            ],
        ),
        (
            key(limits="{rpm: 60, rpd: 50}"),
            ["2: keys[0].limits: rpm 60 can never be reached below rpd 50: lower rpm or raise rpd"],
        ),
        (
            key(provider="opnai"),
            [
                "2: keys[0].provider: unknown provider 'opnai'; did you mean 'openai'?; "
                "add it under providers with kind and base_url"
            ],
        ),
        ("version: 1\nkeys:\n- secret: sk-1", ["3: keys[0].provider: is missing"]),
        (
            "version: 1\nkeys:\n- {id: a, provider: openai, secret: b}\n"
            "- {id: a, provider: openai, secret: c}",
            ["4: keys[1]: has the same id 'a' as keys[0]: keep one"],
        ),
        (
            "version: 1\nkeys:\n- {provider: openai, secret: b}\n- {provider: openai, secret: b}",
            ["4: keys[1]: has the same provider and secret as keys[0]: keep one"],
        ),
        (
            "version: 1\nkeys:\n"
            "- {id: a, provider: openai, secret: b, scope: org, limits: {rpm: 60}}\n"
            "- {id: c, provider: openai, secret: d, scope: org, limits: {rpm: 30}}\n"
            "- {provider: openai, secret: e, scope: org, limits: {rpm: 60, tpm: 9}}",
            [
                "4: keys[1].limits: 'c' names other limits than 'a' (keys[0]) for scope 'org' of "
                "openai: keys of one scope share its limits",
                "5: keys[2].limits: 'openai-943d5bfa8a' names other limits than 'a' (keys[0]) for "
                "scope 'org' of openai: keys of one scope share its limits",
            ],
        ),
        (
            "version: 1\nmodels:\n  fast:\n  - groq/llama",
            ["4: models.fast[0]: provider 'groq' is not configured; add it under providers"],
        ),
        (
            "version: 1\nmodels: {fast: [gpt]}",
            ["2: models.fast[0]: should be provider/model, such as openai/gpt-4.1-mini; got 'gpt'"],
        ),
        (
            "version: 1\nclients:\n- {name: a, token: b}\n- {name: a, token: c}",
            ["4: clients[1].name: the same name as clients[0]: every client needs its own"],
        ),
        (
            "version: 1\nbudgets: [{scope: global, limit_usd: -5, period: daily}]",
            ["2: budgets[0].limit_usd: should be above 0; got '-5'"],
        ),
        (
            "version: 1\nbudgets: [{scope: per_client, scope_id: b, limit_usd: 5, period: daily}]",
            ["2: budgets[0].scope_id: there is no client 'b'"],
        ),
        (
            "version: 1\nbudgets: [{scope: per_key, limit_usd: 5, period: daily}]",
            ["2: budgets[0]: a per_key budget needs a scope_id that says whose it is"],
        ),
        (
            "version: 1\npolicies: [5]",
            ["2: policies[0]: should be a mapping, such as {name: value}; got '5'"],
        ),
        (
            "version: 1\nserver:\n  host: 0.0.0.0",
            [
                "3: server.host: 0.0.0.0 can be reached from other machines: add at least one "
                "entry under clients, or listen on 127.0.0.1"
            ],
        ),
        ("version: 1\nstore: a\x07b", ["2: holds the control character '\\x07'"]),
        ("version: 1\n? [a]\n: b", ["2: the file: a name should be plain text"]),
        (
            "version: 1\nstore: !!binary aGk=",
            ["2: store: should be plain text or a number: a value that starts with ! needs quotes"],
        ),
    ],
)
def test_mistake_names_line_field_and_remedy(text: str, expected: list[str]) -> None:
    assert mistakes(text) == expected


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "a:\n\t- b", "a: 'b", "a: *b", "a: @b", "--- a\n--- b"]
)
def test_text_that_is_no_yaml_is_refused_with_its_line(text: str) -> None:
    (found,) = mistakes(f"version: 1\n{text}")
    line, _, reason = found.partition(": ")
    assert line in {"2", "3"}
    assert reason.startswith("not valid YAML: ")


def test_keys_of_one_scope_may_name_its_limits_alike_or_once() -> None:
    text = """\
version: 1
keys:
  - {provider: openai, secret: a, scope: org, limits: {rpm: 60, tpm: 9}}
  - {provider: openai, secret: b, scope: org, limits: {tpm: 9, rpm: "${RPM}"}}
  - {provider: openai, secret: c, scope: org}
  - {provider: groq, secret: d, scope: org, limits: {rpm: 30}}
  - {provider: openai, secret: e, limits: {rpm: 30}}
"""
    config = parse_config(
        text, name="router.yaml", env={"RPM": "60"}, known_providers=("openai", "groq")
    )
    assert [key.limits.get("rpm") for key in config.keys] == [60, 60, None, 30, 30]


@pytest.mark.parametrize("name", ["tph", "tpm", "rpd", "itpm", "otpm", "concurrency"])
def test_each_limit_may_be_declared(name: str) -> None:
    text = key(limits=f"{{{name}: 5}}")
    config = parse_config(text, name="router.yaml", env={}, known_providers=("openai",))
    assert config.keys[0].limits == {name: 5}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version: 1\nalerts: []\n", "2: alerts"),
        (
            "version: 1\nclients: [{name: a, token: b, tags: {}}]\n",
            "2: clients[0].tags",
        ),
    ],
)
def test_documented_name_that_is_not_there_yet_is_told_so(text: str, place: str) -> None:
    name = place.rpartition(".")[2].removeprefix("2: ")
    assert mistakes(text) == [
        f"{place}: this version does not have {name} yet: leave it out to start without"
    ]


@pytest.mark.parametrize("name", ["max_body", "max_body_bytes"])
def test_largest_body_goes_by_its_documented_name(name: str) -> None:
    text = f"version: 1\nserver: {{{name}: 5MB}}\n"
    config = parse_config(text, name="router.yaml", env={}, known_providers=())
    assert config.server.max_body_bytes == 5_000_000


def test_nearest_name_is_one_that_may_be_written() -> None:
    assert mistakes("version: 1\nserver: {max_bodi: 5MB}\n") == [
        "2: server.max_bodi: unknown name; did you mean 'max_body'?"
    ]


BUDGET = "version: 1\nbudgets: [{{limit_usd: 5, {}}}]\n"


@pytest.mark.parametrize("period", ["hourly", "daily", "weekly", "monthly", "total", "36h"])
def test_budget_may_have_each_documented_period(period: str) -> None:
    text = BUDGET.format(f"period: {period}, id: b, timezone: Europe/Berlin, alert_at: [0.5, 1]")
    config = parse_config(text, name="router.yaml", env={}, known_providers=())
    assert (config.budgets[0].period, config.budgets[0].alert_at) == (period, [0.5, 1.0])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            "period: dayly",
            "2: budgets[0].period: should be one of hourly, daily, weekly, monthly, total, "
            "or a duration such as 36h; did you mean 'daily'?; got 'dayly'",
        ),
        (
            "period: daily, timezone: Berlin",
            "2: budgets[0].timezone: should be a time zone such as UTC or Europe/Berlin; "
            "got 'Berlin'",
        ),
        (
            "period: daily, alert_at: [80]",
            "2: budgets[0].alert_at[0]: should be 1 or less; got '80'",
        ),
    ],
)
def test_budgets_mistake_names_line_field_and_remedy(fields: str, expected: str) -> None:
    assert mistakes(BUDGET.format(fields)) == [expected]


def test_weight_of_nothing_is_allowed_beside_others() -> None:
    text = "version: 1\nrouting: {weights: {cost: 1, reliability: 0}}\n"
    config = parse_config(text, name="router.yaml", env={}, known_providers=())
    assert config.routing.weights == {"cost": 1.0, "reliability": 0.0}


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("2kB", 2000), ("2MB", 2_000_000), ("1GB", 10**9), ("2KiB", 2048), ("3MiB", 3 * 2**20),
        ("1GiB", 2**30), ("7b", 7),
    ],
)  # fmt: skip
def test_each_unit_of_size_is_what_it_says(written: str, size: int) -> None:
    text = f"version: 1\nserver: {{max_body: {written}}}\n"
    config = parse_config(text, name="router.yaml", env={}, known_providers=())
    assert config.server.max_body_bytes == size
