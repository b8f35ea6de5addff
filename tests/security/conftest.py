"""Fixtures of the security tests: the control plane in memory that the tests of the API use."""

from tests.api.conftest import agent, api, call, churn_id, client, clock, process, rivals, store, tokens

__all__ = ["agent", "api", "call", "churn_id", "client", "clock", "process", "rivals", "store", "tokens"]
