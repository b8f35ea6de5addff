"""Reference page of the glossary: each term in one sentence, which is that of the code where the code has the noun."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from optagent.adapters.search.portfolio_sampler import PortfolioSampler
from optagent.domain.audit_anchor import AuditAnchor
from optagent.domain.gate import Gates, Verdict
from optagent.domain.idempotency import KeyClaim
from optagent.domain.ledger import HoldoutLook
from optagent.domain.mixture_status import MixtureCertificate
from optagent.domain.monitoring import Window
from optagent.domain.notice import Notice
from optagent.domain.policy import Action, RetrainingPolicy, Stage
from optagent.domain.process import Process
from optagent.domain.rollout_look import Look
from optagent.domain.routing import RoutingTable
from optagent.domain.slot import Slot
from optagent.domain.strategy import Strategy
from optagent.domain.study import Interval, Objective, Study, Trial
from optagent.domain.token import Scope
from optagent.training.families.family import Family
from reference.page import ReferencePage, sentence

_INTRODUCTION = """
Words as the product, its messages and this site use them. Where the code has the noun, the sentence is the code's.
"""

_TERMS: Mapping[str, Any] = {
    "action": Action,
    "agent": "The object of the Python SDK, whose verbs are what optagent can do.",
    "alert": "A finding of the monitor that lasts: it is opened once, seen again, and closed when it is gone.",
    "alias": "A name such as `champion` that stands for one version of a model, and can be moved.",
    "alpha": "The risk of a wrong decision that somebody accepts: of a gate, of a rollout, of a year of looks.",
    "anchor (audit)": AuditAnchor,
    "anchor (gates)": "The best champion so far: a candidate that is only no worse is compared with it too.",
    "archive": "The Parquet files of recorded predictions, labels and evidence.",
    "arm": "The side of a split that a request is drawn to by its key: champion or candidate.",
    "audit log": "The hash chain of every decision and every act, signed link by link.",
    "backtest": "A replay of a model's history under several policies, compared with doing nothing.",
    "baking": "The last state of a rollout: the candidate answers everything, the former champion stays ready.",
    "bundle": "The folder of a version: a manifest, a schema and the model's files, none of them a pickle.",
    "candidate": "A version that has passed its gates or is on its way through them, and does not answer alone yet.",
    "certificate": MixtureCertificate,
    "challenger": "The alias of the newest candidate that passed its gates.",
    "champion": "The version that answers a model's requests, and that every candidate is compared with.",
    "concept drift": "A change of the relation between features and label: the same row has another answer now.",
    "Control": "The process that holds the agent which the HTTP API asks.",
    "cooldown": "The time after a run in which a policy starts no other.",
    "data drift": "A change of the distribution of features, weighed by their importance to the model.",
    "degradation": "A fall of a model's metric since its reference by more than the threshold.",
    "diagnosis": "The condition of a model, its likely causes and the remedy, from all analyses of one window.",
    "entity": "The customer or machine that a row is of: rows of one are never on both sides of a split.",
    "family": Family,
    "gate": Gates,
    "gateway": "A process that answers predictions, and passes all other requests to Control.",
    "guardrail": "The highest tolerated rate of errors or slow answers of a candidate; beyond it a rollout rolls back.",
    "holdout": "The newest rows, which no search sees and gates judge by.",
    "idempotency key": KeyClaim,
    "interval": Interval,
    "interval (of an answer)": "The range, or the set of labels, that is to hold a given share of the outcomes.",
    "label": "What came true of a prediction, sent later by the same id.",
    "label horizon": "The longest time from a row to its label.",
    "label maturity": "The share of a window's labels that has come, of those that ever come.",
    "lease": "The hold of one runner on a process: another one takes over when it is not renewed.",
    "ledger": "The list of all looks at a holdout, which share one alpha.",
    "look (gates)": HoldoutLook,
    "look (rollout)": Look,
    "margin": "The loss of quality that still counts as no worse.",
    "mixture": "All slots of a model answering together, each with the weight that it has earned on the labels.",
    "model": "What a model.yaml describes: data, target and rules; its trained forms are versions.",
    "monitor": "The actor that archives what a model answered, analyzes each window, and keeps alerts.",
    "notice": Notice,
    "objective": Objective,
    "parity": "The agreement of the engine that serves with the model that was built.",
    "policy": RetrainingPolicy,
    "portfolio": PortfolioSampler,
    "process": Process,
    "provisional": "Said of a window whose labels still come: its metrics are corrected, and only matured rows alarm.",
    "ramp": "The state of a rollout in which the candidate answers a growing share of the keys.",
    "reference": "The rows that a window is compared with: the holdout of the version, or rows that were given.",
    "refit": "The training of a candidate that passed, anew on all labelled rows, before it goes to shadow.",
    "remedy": "What a diagnosis asks for: retrain, re-tune, re-engineer, ensemble, or repair the data.",
    "rollout": "The way of a candidate to the champion's place: shadow, ramp, baking, each by evidence.",
    "routing table": RoutingTable,
    "scope": Scope,
    "shadow": "The state of a rollout in which the candidate is asked beside the champion and not listened to.",
    "slice": "The rows of one value of a column, judged separately.",
    "slot": Slot,
    "stage": Stage,
    "strategy": Strategy,
    "study": Study,
    "Supervisor": "The process that moves rollouts on, runs the queue and the policies, and sends notices.",
    "trial": Trial,
    "trigger": "A cause by which a policy starts an optimization.",
    "verdict": Verdict,
    "version": "One trained and registered bundle of a model, by number.",
    "window": Window,
}


def glossary_page() -> ReferencePage:
    page = ReferencePage("Glossary", _INTRODUCTION.strip())
    for term, source in sorted(_TERMS.items(), key=lambda item: item[0].lower()):
        text = source if isinstance(source, str) else first_sentence(inspect.getdoc(source) or "")
        page.add_text(f"**{term}**\n:   {sentence(page.describe(f'term {term}', text))}")
    return page


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring, on one line.

    >>> first_sentence("A way,\\nnot a model. More.")
    'A way, not a model.'
    """
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0]
