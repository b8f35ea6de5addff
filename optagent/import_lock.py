"""Import lock: held by threads that load libraries which share modules, so that one at a time loads them.

Two threads that load a package whose modules import each other can each wait for the other; Python then gives one of
them a module that is half loaded, and its import fails: SQLAlchemy's, by Optuna in one thread and MLflow in the other,
on a busy machine.
"""

import threading

IMPORTS = threading.RLock()
