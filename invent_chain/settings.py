"""What `InvEntropy` accepts, setting by setting; checked before anything is made or asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from invent_chain.errors import ConfigurationError
from invent_chain.sample.settings import check_seconds, check_temperature, check_whole, is_number
from invent_chain.sequential import check_test
from invent_chain.types import Price

_LEAST = {
    "n": 1,
    "r": 1,
    "replications": 1,
    "draws": 1,
    "seed": 0,
    "min_answers": 0,
    "concurrency": 1,
    "max_in_flight": 1,
    "max_requests": 1,
    "max_total_tokens": 1,
    "max_question_chars": 1,
    "max_tokens": 1,
}
_OPTIONAL = ("r", "replications", "max_requests", "max_total_tokens", "max_tokens", "deadline", "hedge")
_CHOICES = {
    "score": ("consensus", "support", "normalised"),
    "mode": ("fixed", "adaptive", "screen"),
    "variant": ("paper", "released"),
}

_PRICE = "Price(prompt=..., completion=...), by a million tokens"


def check_scorer(settings: Mapping[str, Any]) -> None:
    """Check the settings of a scorer, by name; see `InvEntropy` for their ranges.

    Raises:
        ConfigurationError: A setting is out of range, or two contradict each other.
    """
    for name, least in _LEAST.items():
        if settings[name] is not None or name not in _OPTIONAL:
            check_whole(name, settings[name], least=least)
    for name in ("timeout", "deadline", "hedge"):
        if settings[name] is not None or name not in _OPTIONAL:
            check_seconds(name, settings[name])
    cost = settings["max_cost"]
    if cost is not None and not (is_number(cost) and cost > 0.0):
        raise ConfigurationError(f"max_cost={cost!r}: must be a number above 0, in the currency of the prices")
    check_temperature(settings["temperature"])
    _check_prices(settings["prices"])
    for name, choices in _CHOICES.items():
        if settings[name] not in choices:
            *others, last = map(repr, choices)
            raise ConfigurationError(f"{name}={settings[name]!r}: choose {', '.join(others)} or {last}")
    check_test(settings["error"], settings["guarantee"])
    if settings["mode"] != "fixed" and settings["score"] != "consensus":
        raise ConfigurationError(
            f"mode={settings['mode']!r} counts answers that say the same: it needs score='consensus'"
        )
    if settings["min_answers"] and settings["mode"] != "adaptive":
        raise ConfigurationError(
            f"min_answers={settings['min_answers']} bounds mode='adaptive', and the mode is {settings['mode']!r}"
        )


def _check_prices(prices: object) -> None:
    if prices is None:
        return
    if not isinstance(prices, Mapping):
        raise ConfigurationError(f"prices is a {type(prices).__name__}: pass a dict from names of models to {_PRICE}")
    for name, price in prices.items():
        if not isinstance(price, Price):
            raise ConfigurationError(f"prices[{name!r}] is a {type(price).__name__}: pass {_PRICE}")
