"""Names of columns: those that suggest a protected attribute, an id, or the target under another name."""

import re
import unicodedata

from optagent.training.outline.protected_names import PROTECTED_NAMES

_ID = re.compile(r"(^|_)(id|ids|uuid|guid|key|index|rowid|number|no|nr|code|hash)$|^unnamed_\d+$")
_ENTITY = re.compile(
    r"customer|client|user|account|patient|member|person|employee|machine|device|vehicle|sensor|store|shop|company"
    r"|ticker|symbol|merchant|household|contract|supplier|product_id|item_id|student|subscriber"
)
_ENDINGS = ("_flag", "_label", "_target", "_ind", "ed", "s")
_LEAST_STEM = 4
_LETTERS = str.maketrans({"ß": "ss", "ł": "l", "Ł": "L"})  # letters that are no others with an accent


def plain_name(name: str) -> str:
    """The name in lower case without accents, with underscores between its words.

    >>> plain_name("CustomerID"), plain_name("Country of Birth"), plain_name("Nationalité")
    ('customer_id', 'country_of_birth', 'nationalite')
    """
    letters = unicodedata.normalize("NFKD", name.translate(_LETTERS))
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", "".join(each for each in letters if not unicodedata.combining(each)))
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def sensitive_attribute(name: str) -> str | None:
    """The protected attribute that a name suggests, None for another name.

    >>> sensitive_attribute("applicant_age"), sensitive_attribute("page_views"), sensitive_attribute("NativeCountry")
    ('age', None, 'nationality')
    >>> [sensitive_attribute(name) for name in ("Staatsangehörigkeit", "fecha_de_nacimiento", "płeć", "eta")]
    ['nationality', 'age', 'sex', None]
    """
    plain = plain_name(name)
    words = {*plain.split("_"), *re.split(r"[\W_]+", name.lower())}
    attributes = (meant for word, meant in PROTECTED_NAMES.items() if word in words or ("_" in word and word in plain))
    return next(attributes, None)


def is_id_name(name: str) -> bool:
    return _ID.search(plain_name(name)) is not None


def is_entity_name(name: str) -> bool:
    plain = plain_name(name)
    return _ENTITY.search(plain) is not None or plain.endswith("_id")


def is_like_target(name: str, target: str) -> bool:
    """True where a name holds the stem of the target's.

    >>> is_like_target("churn_reason", "churned"), is_like_target("charge", "churned")
    (True, False)
    """
    stem = plain_name(target).removeprefix("is_").removeprefix("has_")
    for ending in _ENDINGS:
        if stem.endswith(ending) and len(stem) - len(ending) >= _LEAST_STEM:
            stem = stem.removesuffix(ending)
            break
    return len(stem) >= _LEAST_STEM and stem in plain_name(name)
