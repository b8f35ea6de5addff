"""Protected names: words of column names that suggest a protected attribute.

English, and the five languages of most people in the European Union: German, French, Italian, Spanish and Polish. They
are without accents, as `plain_name` makes them; `età` keeps its own, since `eta` is a time of arrival. Words that mean
something else more often are left out, such as `genre` and `Herkunft`.
"""

from collections.abc import Mapping

_WORDS_OF: Mapping[str, str] = {
    "sex": ("sex gender geschlecht sexe sexo genero sesso genere plec"),
    "race or ethnic origin": (
        "race ethnicity ethnic skin ethnie rasse hautfarbe origine_ethnique raza etnia razza origine_etnica "
        "rasa pochodzenie_etniczne"
    ),
    "nationality": (
        "nationality citizenship country_of_birth native_country nationalitat nationalitaet "
        "staatsangehorigkeit staatsangehoerigkeit staatsburgerschaft staatsbuergerschaft geburtsland "
        "herkunftsland nationalite citoyennete pays_de_naissance pays_naissance nacionalidad ciudadania "
        "pais_de_nacimiento pais_nacimiento nazionalita cittadinanza paese_di_nascita paese_nascita "
        "narodowosc obywatelstwo kraj_urodzenia"
    ),
    "age": (
        "age dob birthdate birthday birth_date date_of_birth alter geburtsdatum geburtstag geburtsjahr "
        "naissance edad nacimiento età nascita wiek urodzenia"
    ),
    "religion": ("religion konfession religione religia wyznanie"),
    "family status": (
        "marital familienstand etat_civil situation_familiale situation_matrimoniale estado_civil "
        "stato_civile stan_cywilny"
    ),
    "pregnancy": ("pregnant schwanger enceinte embarazada incinta ciaza"),
    "disability": (
        "disability disabled behinderung schwerbehindert handicap discapacidad disabilita niepelnosprawnosc"
    ),
    "sexual orientation": ("orientation sexuelle_orientierung orientierung orientacion orientamento orientacja"),
}
PROTECTED_NAMES: Mapping[str, str] = {
    word: attribute for attribute, words in _WORDS_OF.items() for word in words.split()
}
"""The attribute that each name suggests; the first one counts: a country of birth is no age."""
