"""Reasons for the failure of a run that only the local driver gives."""

from enum import StrEnum


class LocalReason(StrEnum):
    MISSING_CONFIG_MAP = "MissingConfigMap"
    """The spec names a ConfigMap that is not in the files."""
    MISSING_CONFIG_MAP_KEY = "MissingConfigMapKey"
    """The spec names a key that its ConfigMap does not have."""
    NEEDS_CLUSTER = "NeedsCluster"
    """The spec names something that only a cluster has."""
    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    """Cells have no result after spec.swarm.maxAttempts attempts."""
    LIMIT_REACHED = "LimitReached"
    """One of spec.limits has ended the run."""
    JOURNAL_IN_USE = "JournalInUse"
    """Another run uses the journal."""
    GIT_MISSING = "GitMissing"
    """The spec takes the program from git, and this machine has no git command."""
    NOT_A_JOURNAL = "NotAJournal"
    """--journal names a folder with other files than a journal's, or a folder that cannot be written."""
