"""Reasons of a local run's failure that no plan or worker gives."""

from enum import StrEnum


class LocalReason(StrEnum):
    MISSING_CONFIG_MAP = "MissingConfigMap"
    """The spec names a ConfigMap that is not in the files."""
    MISSING_CONFIG_MAP_KEY = "MissingConfigMapKey"
    """The spec names a key that its ConfigMap does not have."""
    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    """Cells have no result after spec.swarm.maxAttempts attempts."""
    LIMIT_REACHED = "LimitReached"
    """One of spec.limits has ended the run."""
    JOURNAL_IN_USE = "JournalInUse"
    """Another run uses the journal."""
    NOT_A_JOURNAL = "NotAJournal"
    """What --journal names is no folder of ours, or nothing can be written there."""
