"""One model with several settings: how its configurations are told apart, in the queue and on an engine host.

A job's settings are the model's own or, for a thread that overrides some of them, a configuration of their own. To the
queue and to the placement each configuration is something to take turns with, like a model: it has its own waiting
line, so its jobs can be answered in one go before the model is loaded anew for another configuration.
"""

from __future__ import annotations

from jan.inference.v1.jobs_pb2 import ModelSpec

_MARK = "#"  # no id has it


def key_of(spec: ModelSpec) -> str:
    """What tells a model in one configuration from all others; the model's id for its own settings."""
    return f"{spec.id}{_MARK}{spec.configuration}" if spec.configuration else spec.id


def model_of(key: str) -> str:
    """The model's id."""
    return key.partition(_MARK)[0]


def configuration_of(key: str) -> str:
    """The configuration; "" for the model's own settings."""
    return key.partition(_MARK)[2]


def described(key: str) -> str:
    """A model in one configuration, for people."""
    return f"{model_of(key)} with other settings" if configuration_of(key) else key
