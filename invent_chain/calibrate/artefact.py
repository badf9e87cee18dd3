"""`Calibration`: what was learned from labelled answers, as a versioned JSON file that knows what it was made for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from invent_chain.calibrate.certify import Certificate, Labels, Uncertifiable, certify
from invent_chain.calibrate.maps import ConfidenceMap, MapKind, fit_map
from invent_chain.decide import Thresholds
from invent_chain.errors import CalibrationError
from invent_chain.protocols import FloatArray
from invent_chain.types import Fingerprint

if TYPE_CHECKING:
    from pydantic import TypeAdapter

VERSION = 1
_QUANTILES = tuple(k / 10 for k in range(11))
_BINS = 20


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps the uncertainty of one configuration to P(right), with the threshold that was certified for it.

    Attributes:
        fingerprint: What the scores depend on; only scores with an equal one may be calibrated with it.
        confidence_map: From uncertainty to P(right).
        certificate: The certified threshold; None if none was asked for or none could be certified.
        labels: Labelled answers.
        right: Right ones among them.
        quantiles: Deciles of the labelled scores, 11 values from the least to the greatest: the calibrated range.
        histogram: How many labelled scores lie in each of 20 equal bins over [0, 1].
        version: Version of this format.
    """

    fingerprint: Fingerprint
    confidence_map: ConfidenceMap
    certificate: Certificate | None
    labels: int
    right: int
    quantiles: tuple[float, ...]
    histogram: tuple[int, ...]
    version: int = VERSION

    @staticmethod
    def fit(
        uncertainty: FloatArray,
        right: Labels,
        *,
        fingerprint: Fingerprint,
        risk: float | None = None,
        confidence: float = 0.9,
        kind: MapKind | Literal["auto"] = "auto",
        seed: int = 0,
    ) -> tuple[Calibration, Certificate | Uncertifiable | None]:
        """Learn from labelled answers.

        Args:
            uncertainty: Their scores, (m,), in [0, 1].
            right: Whether each is right, (m,).
            fingerprint: What the scores depend on.
            risk: Also certify a threshold with at most this share of wrong answers; see `certify`.
            confidence: See `certify`.
            kind: See `fit_map`.
            seed: See `fit_map`.

        Returns:
            The calibration, and what came of certifying.

        Raises:
            ConfigurationError: A setting is out of range.
            InputError: Too few labels, or labels and scores that do not fit.
        """
        fitted = fit_map(uncertainty, right, kind=kind, seed=seed)
        outcome = None if risk is None else certify(uncertainty, right, risk=risk, confidence=confidence)
        calibration = Calibration(
            fingerprint=fingerprint,
            confidence_map=fitted,
            certificate=outcome if isinstance(outcome, Certificate) else None,
            labels=len(uncertainty),
            right=int(np.sum(right)),
            quantiles=tuple(np.quantile(uncertainty, _QUANTILES).tolist()),
            histogram=histogram(uncertainty),
        )
        return calibration, outcome

    def confidence(self, uncertainty: float) -> float:
        """Return P(right) for a score in [0, 1]: in (0, 1), higher = more certain."""
        return self.confidence_map(uncertainty)

    def policy(self) -> Thresholds:
        """Return the policy that answers up to the certified threshold and abstains above it.

        Raises:
            CalibrationError: No threshold was certified.
        """
        if self.certificate is None:
            raise CalibrationError("no threshold was certified: fit with risk=..., and with enough labels for it")
        return Thresholds(answer=self.certificate.threshold, retrieve_more=None, fallback=None)

    def check(self, fingerprint: Fingerprint, *, model: bool = True) -> None:
        """Make sure that scores with this fingerprint may be calibrated.

        Args:
            fingerprint: What the scores depend on.
            model: Whether the model's name and its prompt are compared too; a prompt only where both are known.

        Raises:
            CalibrationError: They may not; names each difference.
        """
        differences = [
            f"{field.name} was {mine!r} and is {theirs!r}"
            for field in fields(Fingerprint)
            if (mine := getattr(self.fingerprint, field.name)) != (theirs := getattr(fingerprint, field.name))
            and (model or field.name not in ("model", "prompt"))
            and (field.name != "prompt" or (mine and theirs))
        ]
        if differences:
            raise CalibrationError(
                f"the calibration was made for other scores: {'; '.join(differences)}. Use those settings, or "
                "calibrate again"
            )

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> Calibration:
        """Read it back; `load` of what `save` wrote is equal to the original.

        Raises:
            CalibrationError: The file cannot be read, is no calibration, or is of another version.
        """
        try:
            plain: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise CalibrationError(f"{path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise CalibrationError(f"{path} is no JSON: {error}") from error
        version = plain.get("version") if isinstance(plain, dict) else None
        if version != VERSION:
            raise CalibrationError(
                f"{path} is of version {version!r} and this library reads version {VERSION}: calibrate again"
            )
        try:
            return _adapter().validate_python(plain)
        except ValueError as error:
            raise CalibrationError(f"{path} is no calibration: {error}") from error


def histogram(scores: FloatArray) -> tuple[int, ...]:
    """Count scores in [0, 1] by 20 equal bins."""
    return tuple(np.histogram(scores, bins=_BINS, range=(0.0, 1.0))[0].tolist())


@cache
def _adapter() -> TypeAdapter[Calibration]:
    from pydantic import ConfigDict, TypeAdapter, with_config

    strict = with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
    for record in (Calibration, ConfidenceMap, Certificate):
        strict(record)
    return TypeAdapter(Calibration)
